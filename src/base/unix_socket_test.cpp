#include "base/testing/temporary_directory.hpp"
#include "base/unix_socket.hpp"

#include <gtest/gtest.h>

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
