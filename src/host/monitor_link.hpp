// A conversation with one monitor over its API's socket that never waits: questions one after the other, each with a
// deadline, answers of bounded length. The connection is made when there is something to ask, and anew after an error.
//
// On the loop's thread.
#pragma once

#include "base/error.hpp"
#include "event/event_loop.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace aerate::hostd {

class MonitorLink {
public:
    struct Answer {
        unsigned status = 0;
        std::string body{};
    };
    struct Question {
        std::string method{};
        std::string path{};
        std::string body{}; ///< JSON; empty: none
    };
    using Done = std::move_only_function<void(Result<Answer>)>;

    /// A status of a VM with all counters has some 20 KiB.
    static constexpr std::size_t longest_answer = 256U << 10;
    /// More are refused: they would be answered when nobody wants to know any more.
    static constexpr std::size_t questions_max = 4;

    MonitorLink(EventLoop&, std::string socket);
    /// Calls no Done any more.
    ~MonitorLink();
    MonitorLink(const MonitorLink&) = delete;
    MonitorLink& operator=(const MonitorLink&) = delete;

    /// Calls `done` later, once; it may destroy this. The error's number is ECONNREFUSED or ENOENT when nobody listens
    /// there any more.
    void ask(Question, std::chrono::milliseconds deadline, Done done);
    /// Returns whether an answer is being waited for.
    [[nodiscard]] bool busy() const;
    /// Returns the process at the other end, by the kernel's word; 0 before the first answer.
    [[nodiscard]] int peer() const;

private:
    struct Impl;
    std::shared_ptr<Impl> impl_;
};

} // namespace aerate::hostd
