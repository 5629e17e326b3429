// A host that refuses the n-th of what it is asked for, and shows what a process holds.
//
//     for_each_refusal([&] { return snapshot(machine); }, [&](const Error& error) { ... the guest still runs ... });
#pragma once

#include "base/host.hpp"
#include "base/testing/sanitized.hpp"

#include <dirent.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <thread>

namespace aerate::host {

/// Requests of others are neither counted nor refused. Nothing: all are.
void count_only(std::optional<Resource>);

} // namespace aerate::host

namespace aerate::testing {

/// For as long as it lives. Of all threads of the process.
class RefusingHost {
public:
    enum class For : std::uint8_t {
        once, ///< the next request is granted
        good, ///< and all that follow: a limit was reached
    };
    RefusingHost(std::uint64_t nth, For how_long, std::optional<host::Resource> only = std::nullopt)
        : nth_(nth) {
        host::count_only(only);
        if (how_long == For::once)
            host::refuse_requests(nth, nth, host::RefusedMapping::unmaps);
        else
            host::refuse_requests(nth, std::numeric_limits<std::uint64_t>::max(), host::RefusedMapping::keeps);
    }
    ~RefusingHost() {
        host::refuse_nothing();
        host::count_only(std::nullopt);
    }
    RefusingHost(const RefusingHost&) = delete;
    RefusingHost& operator=(const RefusingHost&) = delete;
    [[nodiscard]] bool refused() const { return host::requests_asked() >= nth_; }

private:
    std::uint64_t nth_;
};

inline std::size_t entries_of(const char* directory) {
    const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(directory), ::closedir);
    std::size_t count = 0;
    while (open && ::readdir(open.get()) != nullptr)
        ++count;
    return count;
}
inline std::size_t open_descriptors() {
    return entries_of("/proc/self/fd");
}
inline std::size_t threads() {
    // ThreadSanitizer starts a thread of its own with the first that a program starts, and keeps it.
    [[maybe_unused]] static const bool its_own_runs = sanitized && (std::thread([] {}).join(), true);
    return entries_of("/proc/self/task");
}

/// Waits for what other threads are about to do. Returns whether they have.
template <typename Condition>
bool soon(Condition condition) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition() && std::chrono::steady_clock::now() < until)
        std::this_thread::yield();
    return condition();
}

/// A thread that was joined is in /proc for a moment longer.
inline bool threads_fall_to(std::size_t count) {
    return soon([count] { return threads() <= count; });
}

/// A thread that has answered may still have a file to close. ThreadSanitizer keeps two open to its symbolizer from the
/// first race on that it looks up, be it to leave it out of its report.
inline bool descriptors_fall_to(std::size_t count) {
    constexpr std::size_t its_own = thread_sanitized ? 2 : 0;
    return soon([count] { return open_descriptors() <= count + its_own; });
}

/// Has the host refuse the first request that `operation` leads to, then the second, and so on until it asks for no
/// more. `operation` returns a Result; `check(result, n)` is called after each with what it returned, when the host is
/// kind again. A refusal need not fail the operation, which may do without. Returns how many were refused.
template <typename Operation, typename Check>
std::uint64_t for_each_refusal(RefusingHost::For how_long, Operation operation, Check check) {
    constexpr std::uint64_t patience = 1000;
    for (std::uint64_t n = 1; n <= patience; ++n) {
        bool refused = false;
        auto result = [&] {
            const RefusingHost host(n, how_long);
            auto answer = operation();
            refused = host.refused();
            return answer;
        }();
        if (!refused) {
            EXPECT_TRUE(result.has_value()) << "nothing was refused: " << result.error().message;
            return n - 1;
        }
        if (!result) {
            EXPECT_FALSE(result.error().message.empty());
        }
        check(result, n);
        if (::testing::Test::HasFatalFailure())
            return n;
    }
    ADD_FAILURE() << "asks for more than " << patience;
    return patience;
}

} // namespace aerate::testing
