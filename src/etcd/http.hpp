// HTTP/1.1 as a client of etcd's gateway speaks it: a request as text, an answer as it comes. Without effects.
#pragma once

#include "base/error.hpp"

#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace aerate::etcd {

struct HttpAnswer {
    unsigned status = 0;
    std::string body;
};

/// REQUIRES: `host` and `token` are visible ASCII. `token`: of an etcd that asks for logins; empty: none.
[[nodiscard]] std::string http_request(std::string_view host, std::string_view path, std::string_view token,
                                       std::string_view body);

/// Takes an answer piece by piece. What is longer than a lease's answers can be is refused.
class HttpReader {
public:
    static constexpr std::size_t longest_header = 16U << 10;
    static constexpr std::size_t longest_body = 64U << 10;

    HttpReader();
    ~HttpReader();
    HttpReader(HttpReader&&) noexcept;
    HttpReader& operator=(HttpReader&&) = delete;

    /// Empty: the connection was closed. After an error or done() it may not be called again.
    [[nodiscard]] Result<> take(std::span<const std::byte>);
    [[nodiscard]] bool done() const;
    /// REQUIRES: done().
    [[nodiscard]] HttpAnswer answer();

private:
    struct State;
    std::unique_ptr<State> state_;
};

} // namespace aerate::etcd
