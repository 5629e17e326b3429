#include "base/testing/temporary_directory.hpp"
#include "base/unix_socket.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <sys/file.h>

#include <fstream>

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

TEST(UnixListener, ManyMayBeginInOneDirectoryAtOnce) {
    const TemporaryDirectory directory;
    const std::string place = directory / "";
    const FileDescriptor other{::open(place.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    ASSERT_EQ(::flock(other.get(), LOCK_SH), 0) << "as who makes another socket there just now";
    {
        const auto listener = UnixListener::bind(directory / "a.sock");
        EXPECT_TRUE(listener) << listener.error().message;
    }
    const std::string path = directory / "dead.sock";
    const sockaddr_un address = unix_address(path).value();
    ASSERT_EQ(::bind(unix_stream_socket().value().get(), generic(address), sizeof(address)), 0);
    EXPECT_FALSE(UnixListener::bind(path)) << "it may be the other's, who does not listen yet";
    ASSERT_EQ(::flock(other.get(), LOCK_UN), 0);
    EXPECT_TRUE(UnixListener::bind(path));
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
