#include "host/threads.hpp"

#include <gtest/gtest.h>

namespace aerate::hostd {
namespace {

using confine::Verdict;

Verdict verdict(long call, std::uint32_t first = 0) {
    return confine::answer_to(host_thread, {.number = call, .arguments = {first}}).verdict;
}

TEST(HostThread, talks_to_this_host_alone_and_starts_nothing) {
    EXPECT_EQ(verdict(SYS_socket, AF_UNIX), Verdict::allowed);
    EXPECT_EQ(verdict(SYS_pread64), Verdict::allowed);
    EXPECT_NE(verdict(SYS_socket, AF_INET), Verdict::allowed);
    EXPECT_NE(verdict(SYS_socket, AF_INET6), Verdict::allowed);
    EXPECT_NE(verdict(SYS_execve), Verdict::allowed);
    EXPECT_NE(verdict(SYS_clone), Verdict::allowed);
    EXPECT_NE(verdict(SYS_kill), Verdict::allowed);
    EXPECT_NE(verdict(SYS_ptrace), Verdict::allowed);
}

} // namespace
} // namespace aerate::hostd
