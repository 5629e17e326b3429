#include "daemon/guest_limits.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <sys/resource.h>
#include <sys/wait.h>

namespace aerate {
namespace {

TEST(GuestLimits, AreRaisedOrSayWhatFits) {
    // A process of its own, since what it gives up it cannot have again.
    const pid_t child = ::fork();
    if (child == 0) {
        const rlimit few{.rlim_cur = 64, .rlim_max = 2000};
        if (::setrlimit(RLIMIT_NOFILE, &few) != 0 || (::geteuid() == 0 && ::setuid(65534) != 0))
            ::_exit(2);
        const auto ten = make_room_for_guests(10);
        rlimit now{};
        ::getrlimit(RLIMIT_NOFILE, &now);
        const auto many = make_room_for_guests(64);
        const bool said = !many && many.error().message.find("--max-guests 12 or less") != std::string::npos;
        ::_exit(ten && now.rlim_cur >= 10 * descriptors_per_guest && said ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

} // namespace
} // namespace aerate
