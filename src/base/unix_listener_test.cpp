#include "base/testing/other_user.hpp"
#include "base/testing/temporary_directory.hpp"
#include "base/unix_listener.hpp"
#include "base/unix_socket.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <sys/file.h>
#include <sys/stat.h>

#include <array>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

namespace aerate {
namespace {

TEST(UnixListener, TakesTheSocketOfTheDeadAndNothingElse) {
    const TemporaryDirectory directory;
    const std::string path = directory / "a.sock";
    {
        const sockaddr_un address = unix_address(path).value();
        const FileDescriptor dead = unix_stream_socket().value();
        ASSERT_EQ(::bind(dead.get(), generic(address), sizeof(address)), 0);
    }
    {
        const auto listener = UnixListener::bind(path);
        ASSERT_TRUE(listener) << listener.error().message;
    }
    EXPECT_EQ(directory.files(), 0U) << "it goes with its owner";
    ASSERT_TRUE(std::ofstream(path) << "a file");
    const auto refused = UnixListener::bind(path);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("is not a socket"), std::string::npos);
    EXPECT_FALSE(UnixListener::bind(std::string(200, 'x')));
    EXPECT_FALSE(UnixListener::bind(""));
}

// A lock on /tmp is anybody's to hold: it kept the API from starting until its holder went.
TEST(UnixListener, S1_ALockOnTheDirectoryIsNobodysToWaitFor) {
    const TemporaryDirectory directory;
    const std::string place = directory / "";
    const FileDescriptor stranger{::open(place.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    ASSERT_EQ(::flock(stranger.get(), LOCK_EX), 0);
    const std::string path = directory / "dead.sock";
    const sockaddr_un address = unix_address(path).value();
    ASSERT_EQ(::bind(unix_stream_socket().value().get(), generic(address), sizeof(address)), 0);
    EXPECT_TRUE(UnixListener::bind(directory / "a.sock"));
    EXPECT_TRUE(UnixListener::bind(path));
}

TEST(UnixListener, OneOfManyTakesTheSocketOfTheDead) {
    const TemporaryDirectory directory;
    const std::string path = directory / "a.sock";
    const sockaddr_un address = unix_address(path).value();
    for (int round = 0; round < 50; ++round) {
        ASSERT_EQ(::bind(unix_stream_socket().value().get(), generic(address), sizeof(address)), 0);
        std::mutex mutex;
        std::vector<UnixListener> listeners;
        {
            std::vector<std::jthread> threads;
            for (int i = 0; i < 4; ++i)
                threads.emplace_back([&] {
                    auto listener = UnixListener::bind(path);
                    const std::scoped_lock lock(mutex);
                    if (listener)
                        listeners.push_back(*std::move(listener));
                    else
                        EXPECT_EQ(listener.error().system_error, EADDRINUSE) << listener.error().message;
                });
        }
        ASSERT_EQ(listeners.size(), 1U);
        EXPECT_TRUE(connect_unix(path));
        EXPECT_EQ(directory.files(), 1U) << "nothing is left aside";
    }
}

// chmod() of the path made other files than the socket writable to everybody, where others may rename.
TEST(UnixListener, S1_EverybodyIsLetInFromTheFirstMomentAndByNoOtherFile) {
    const TemporaryDirectory directory;
    const mode_t before = ::umask(0077);
    const auto all = UnixListener::bind(directory / "all.sock", SocketAccess::everybody);
    const auto own = UnixListener::bind(directory / "own.sock", SocketAccess::own_user);
    EXPECT_EQ(::umask(before), 0077U) << "the process's is as it was";
    ASSERT_TRUE(all && own);
    struct stat status{};
    ASSERT_EQ(::stat(all->path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0666U);
    ASSERT_EQ(::stat(own->path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0600U);
}

TEST(UnixListener, APathMayBeAsLongAsAnAddress) {
    const TemporaryDirectory directory;
    std::string path = directory / "";
    path += std::string(sizeof(sockaddr_un::sun_path) - 1 - path.size() - 2, 'd');
    ASSERT_TRUE(std::filesystem::create_directory(path));
    path += "/s";
    const auto listener = UnixListener::bind(path);
    ASSERT_TRUE(listener) << listener.error().message;
    EXPECT_TRUE(connect_unix(path));
}

TEST(TrustedUnixSocket, S1_AStrangersSocketIsNotTalkedTo) {
    AERATE_NEEDS_ANOTHER_USER();
    const TemporaryDirectory directory; // 0700: only we can have let anybody listen there
    const std::string common = directory / "common";
    ASSERT_EQ(::mkdir(common.c_str(), 0), 0);
    const auto connects = [&](const std::string& path) {
        std::array<int, 2> ready{};
        EXPECT_EQ(::pipe2(ready.data(), O_CLOEXEC), 0);
        std::filesystem::remove(path);
        OtherUser stranger([&] {
            const FileDescriptor fd(::socket(AF_UNIX, SOCK_STREAM, 0));
            const auto address = unix_address(path).value();
            const bool listens = ::bind(fd.get(), generic(address), sizeof address) == 0 && ::listen(fd.get(), 1) == 0;
            return ::write(ready[1], listens ? "y" : "n", 1) == 1 && listens &&
                   ::accept(fd.get(), nullptr, nullptr) >= 0;
        });
        char listens = 0;
        EXPECT_EQ(::read(ready[0], &listens, 1), 1);
        EXPECT_EQ(listens, 'y');
        const auto connected = connect_trusted_unix(path);
        EXPECT_TRUE(stranger.succeeded());
        ::close(ready[0]);
        ::close(ready[1]);
        return connected.has_value();
    };
    ASSERT_EQ(::chmod((directory / "").c_str(), 0711), 0);
    ASSERT_EQ(::chmod(common.c_str(), 01777), 0);
    EXPECT_FALSE(connects(common + "/s")) << "as in /tmp";
}

TEST(TrustedUnixSocket, OursIs) {
    const TemporaryDirectory directory;
    const auto listener = UnixListener::bind(directory / "s");
    ASSERT_TRUE(listener);
    EXPECT_TRUE(connect_trusted_unix(directory / "s"));
    EXPECT_EQ(connect_trusted_unix(directory / "none").error().system_error, ENOENT);
}

TEST(UnixListener, LeavesAFileThatIsNotItsOwn) {
    const TemporaryDirectory directory;
    const std::string path = directory / "a.sock";
    {
        auto listener = UnixListener::bind(path);
        ASSERT_TRUE(listener);
        EXPECT_FALSE(UnixListener::bind(path)) << "somebody listens there";
        EXPECT_TRUE(connect_unix(path));
        std::filesystem::rename(path, directory / "b.sock");
        ASSERT_TRUE(std::ofstream(path) << "another's");
    }
    EXPECT_TRUE(std::filesystem::exists(path));
}

} // namespace
} // namespace aerate
