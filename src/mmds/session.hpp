// One connection of the guest's as bytes in and bytes out: HTTP/1.1 requests, one after the other, each answered before
// the next is looked at. It has no socket, so that a test or a fuzzer can be the guest.
//
//     session.receive(bytes, now);                 // takes room() of them at the most
//     while (!session.output().empty()) session.sent(write(session.output()));
//     if (session.over()) close();                 // after the output
#pragma once

#include "mmds/answer.hpp"

#include <cstddef>
#include <string>
#include <string_view>

namespace aerate::mmds {

class Session {
public:
    static constexpr std::size_t request_max = 8192; ///< with its body, of which nothing is used
    static constexpr std::size_t fields_max = 64;

    explicit Session(const Source& source)
        : source_(source) {}

    /// How many bytes it would take now; none while an answer is on its way.
    [[nodiscard]] std::size_t room() const;
    /// REQUIRES: bytes.size() <= room().
    void receive(std::string_view bytes, Tokens::Time now);
    [[nodiscard]] std::string_view output() const { return std::string_view(output_).substr(sent_); }
    /// The first `bytes` of the output are sent; what has come meanwhile is looked at when all are.
    void sent(std::size_t bytes, Tokens::Time now);
    /// There will be no more answers.
    [[nodiscard]] bool over() const { return over_; }

private:
    void serve(Tokens::Time now);
    void reply(const Response&);

    const Source& source_;
    std::string input_;
    std::string output_;
    std::size_t sent_ = 0;
    bool over_ = false;
};

} // namespace aerate::mmds
