#include "daemon/process_identity.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <sys/wait.h>

namespace aerate {
namespace {

TEST(ProcessIdentity, IsThatOfARunningProcess) {
    const auto self = ProcessIdentity::of(::getpid());
    ASSERT_TRUE(self);
    EXPECT_EQ(self, ProcessIdentity::of(::getpid()));
    const auto parent = ProcessIdentity::of(::getppid());
    EXPECT_NE(self, parent);
    EXPECT_FALSE(ProcessIdentity::of(0));
    EXPECT_FALSE(ProcessIdentity::of(-1));
    const pid_t gone = ::fork();
    if (gone == 0)
        ::_exit(0);
    ASSERT_EQ(::waitpid(gone, nullptr, 0), gone);
    EXPECT_FALSE(ProcessIdentity::of(gone));
}

} // namespace
} // namespace aerate
