#include "base/testing/temporary_directory.hpp"
#include "daemon/vhost_user_listener.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cstdlib>
#include <cstring>
#include <string>

namespace aerate {
namespace {

TEST(VhostUserListener, TakesTheSocketsThatTheServiceManagerHandsOver) {
    // sd_listen_fds(3): from descriptor 3 on, for the process that LISTEN_PID names; so in a process of its own.
    const TemporaryDirectory directory;
    const auto path = directory.path() / "x.sock";
    const pid_t child = ::fork();
    if (child == 0) {
        auto listener = VhostUserListener::create(path, false);
        if (!listener || ::dup2(listener->fd(), 3) != 3)
            ::_exit(2);
        ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
        ::setenv("LISTEN_FDS", "1", 1);
        ::setenv("LISTEN_FDNAMES", "tenant7", 1);
        const auto handed = VhostUserListener::handed_over();
        const auto again = VhostUserListener::handed_over();
        ::_exit(handed && handed->size() == 1 && handed->front().name() == "tenant7" && handed->front().fd() == 3 &&
                        again && again->empty()
                    ? 0
                    : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST(VhostUserListener, C27_TheModeOfTheSocketIsNotTheUmasksWhichStaysAsItIs) {
    const TemporaryDirectory directory;
    const auto path = directory.path() / "x.sock";
    for (const mode_t mask : {0U, 0777U}) {
        const mode_t before = ::umask(mask);
        const auto listener = VhostUserListener::create(path, false);
        EXPECT_EQ(::umask(before), mask);
        ASSERT_TRUE(listener);
        struct stat status{};
        ASSERT_EQ(::lstat(path.c_str(), &status), 0);
        EXPECT_EQ(status.st_mode & 0777U & ~mask, 0600U & ~mask);
        EXPECT_EQ(status.st_mode & 0077U, 0U);
    }
}

TEST(VhostUserListener, ReplacesADeadSocketAndNothingElse) {
    const TemporaryDirectory directory;
    const auto path = directory.path() / "x.sock";
    {
        const auto alive = VhostUserListener::create(path, false);
        ASSERT_TRUE(alive);
        EXPECT_FALSE(VhostUserListener::create(path, false));
    }
    EXPECT_FALSE(std::filesystem::exists(path));
    const int dead = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    ASSERT_EQ(::bind(dead, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ::close(dead);
    EXPECT_TRUE(VhostUserListener::create(path, false));
    const FileDescriptor file(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    EXPECT_FALSE(VhostUserListener::create(path, false));
    EXPECT_FALSE(VhostUserListener::create(directory.path() / std::string(200, 'x'), false));
}

} // namespace
} // namespace aerate
