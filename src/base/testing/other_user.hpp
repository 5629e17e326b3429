// Another user of this host, for tests of what they may not do: a child process that has become nobody.
//
//     AERATE_NEEDS_ANOTHER_USER();
//     OtherUser stranger([&] { return attack() == refused; });
//     EXPECT_TRUE(stranger.succeeded());
#pragma once

#include "base/check.hpp"

#include <grp.h>
#include <unistd.h>

#include <sys/wait.h>

#include <utility>

namespace aerate {

/// Only root can become somebody else: others skip the test, and say so.
#define AERATE_NEEDS_ANOTHER_USER()                                                                                    \
    if (::geteuid() != 0)                                                                                              \
    GTEST_SKIP() << "NOT TESTED: this needs root, to become another user"

inline constexpr uid_t other_user = 65534; ///< nobody

class OtherUser {
public:
    /// Runs `act` as that user; it returns whether what it tried went as it should.
    template <typename Act>
    explicit OtherUser(Act&& act)
        : child_(::fork()) {
        CHECK(child_ >= 0);
        if (child_ != 0)
            return;
        const bool changed = ::setgroups(0, nullptr) == 0 && ::setgid(other_user) == 0 && ::setuid(other_user) == 0;
        ::_exit(changed && std::forward<Act>(act)() ? 0 : 1);
    }
    OtherUser(const OtherUser&) = delete;
    OtherUser& operator=(const OtherUser&) = delete;
    ~OtherUser() {
        if (child_ > 0)
            (void)succeeded();
    }
    /// Waits for the end of the child.
    [[nodiscard]] bool succeeded() {
        int status = 0;
        return ::waitpid(std::exchange(child_, -1), &status, 0) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }

private:
    pid_t child_;
};

} // namespace aerate
