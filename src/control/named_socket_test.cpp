// An API socket where the operator wants it, as --api-sock says.
#include "base/testing/temporary_directory.hpp"
#include "control/listening_socket.hpp"

#include <gtest/gtest.h>

#include <filesystem>

namespace aerate::control {
namespace {

namespace fs = std::filesystem;

TEST(NamedSocket, H9_InADirectoryOfOthersItIsStillForItsUserOnly) {
    const TemporaryDirectory directory;
    fs::permissions(directory.path(), fs::perms::all); // as /tmp
    const fs::path socket = directory.path() / "firecracker.socket";
    EXPECT_FALSE(listen_for_requests(socket)) << "a directory of our own is ours alone";
    const auto named = listen_for_requests(socket, SocketPlace::named_by_operator);
    ASSERT_TRUE(named) << named.error().message;
    EXPECT_EQ(fs::status(socket).permissions(), fs::perms::owner_read | fs::perms::owner_write);
    EXPECT_FALSE(listen_for_requests(socket, SocketPlace::named_by_operator)) << "somebody answers there";
}

TEST(NamedSocket, TheDirectoryMustBeThere) {
    const TemporaryDirectory directory;
    EXPECT_FALSE(listen_for_requests(directory.path() / "none" / "s", SocketPlace::named_by_operator));
}

} // namespace
} // namespace aerate::control
