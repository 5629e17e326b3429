#include "base/testing/other_user.hpp"
#include "base/testing/temporary_directory.hpp"
#include "migration/link/endpoint.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <sys/stat.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace aerate::migration {
namespace {

std::string refusal(std::string_view text) {
    const auto parsed = Endpoint::parse(text);
    return parsed ? "" : parsed.error().message;
}

TEST(Endpoint, WhatIsAnAddressAndWhatIsNot) {
    EXPECT_TRUE(Endpoint::parse("tcp:127.0.0.1:4444"));
    EXPECT_TRUE(Endpoint::parse("tcp:localhost:0"));
    EXPECT_TRUE(Endpoint::parse("tcp:[::1]:4444"));
    EXPECT_TRUE(Endpoint::parse("unix:/run/there"));
    EXPECT_NE(refusal("127.0.0.1:4444").find("tcp:ADDRESS:PORT or unix:PATH"), std::string::npos);
    EXPECT_NE(refusal("tcp:127.0.0.1").find("the port is missing"), std::string::npos);
    EXPECT_NE(refusal("tcp:127.0.0.1:70000").find("not a port"), std::string::npos);
    EXPECT_NE(refusal("tcp:127.0.0.1:80x").find("not a port"), std::string::npos);
    EXPECT_NE(refusal("tcp:host.example:80").find("getent hosts"), std::string::npos);
    EXPECT_NE(refusal("unix:").find("1 to 107 bytes"), std::string::npos);
    EXPECT_NE(refusal("unix:" + std::string(108, 'x')).find("1 to 107 bytes"), std::string::npos);
}

void expect_a_conversation(const std::string& at) {
    auto listener = Listener::open(Endpoint::parse(at).value());
    ASSERT_TRUE(listener) << listener.error().message;
    const auto there = Endpoint::parse(listener->where());
    ASSERT_TRUE(there);
    const auto client = connect_to(*there, std::chrono::seconds(5));
    ASSERT_TRUE(client) << client.error().message;
    const auto server = listener->accept();
    ASSERT_TRUE(server) << server.error().message;
    ASSERT_EQ(::write(client->get(), "x", 1), 1);
    char byte = 0;
    EXPECT_EQ(::read(server->get(), &byte, 1), 1);
    EXPECT_EQ(byte, 'x');
}

TEST(Endpoint, BothKindsConnect) {
    expect_a_conversation("tcp:127.0.0.1:0");
    const TemporaryDirectory directory;
    const std::string path = directory / "socket";
    expect_a_conversation("unix:" + path);
    EXPECT_FALSE(std::filesystem::exists(path)) << "the listener removes its file";
    // One that was killed leaves its file.
    {
        const FileDescriptor killed(::socket(AF_UNIX, SOCK_STREAM, 0));
        const auto endpoint = Endpoint::parse("unix:" + path).value();
        ASSERT_EQ(::bind(killed.get(), endpoint.address(), endpoint.length()), 0);
    }
    expect_a_conversation("unix:" + path);
    const auto nobody = connect_to(Endpoint::parse("unix:" + path).value(), std::chrono::seconds(1));
    ASSERT_FALSE(nobody);
    EXPECT_EQ(nobody.error().system_error, ENOENT);
}

TEST(Endpoint, S1_M20_AListenerOfAnotherUserIsSentNothing) {
    AERATE_NEEDS_ANOTHER_USER();
    const TemporaryDirectory directory;
    ASSERT_EQ(::chmod(directory.path().c_str(), 01777), 0);
    const auto endpoint = Endpoint::parse("unix:" + directory / "socket").value();
    std::array<int, 2> ready{};
    ASSERT_EQ(::pipe2(ready.data(), O_CLOEXEC), 0);
    FileDescriptor is_ready(ready[0]);
    FileDescriptor say_ready(ready[1]);
    OtherUser thief([&] {
        auto listener = Listener::open(endpoint);
        const bool open = listener && ::chmod(endpoint.path().c_str(), 0777) == 0;
        if (!open || ::write(say_ready.get(), "x", 1) != 1)
            return false;
        pollfd waits{listener->fd(), POLLIN, 0};
        const FileDescriptor victim(::poll(&waits, 1, 10'000) == 1 ? ::accept(listener->fd(), nullptr, nullptr) : -1);
        char byte = 0;
        return victim.valid() && ::read(victim.get(), &byte, 1) == 0;
    });
    say_ready = {};
    char byte = 0;
    ASSERT_EQ(::read(is_ready.get(), &byte, 1), 1);
    const auto connected = connect_to(endpoint, std::chrono::seconds(5));
    ASSERT_FALSE(connected);
    EXPECT_NE(connected.error().message.find("user 65534 listens at unix:"), std::string::npos)
        << connected.error().message;
    EXPECT_TRUE(thief.succeeded()) << "it has been told something";
}

TEST(Endpoint, S1_M20_AnotherUserWhoConnectsIsNotServedAndRootIs) {
    AERATE_NEEDS_ANOTHER_USER();
    const TemporaryDirectory directory;
    ASSERT_EQ(::chmod(directory.path().c_str(), 01777), 0);
    const auto endpoint = Endpoint::parse("unix:" + directory / "socket").value();
    auto listener = Listener::open(endpoint);
    ASSERT_TRUE(listener) << listener.error().message;
    struct stat status{};
    ASSERT_EQ(::stat(endpoint.path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0600U);
    EXPECT_TRUE(OtherUser([&] {
                    const auto refused = connect_to(endpoint, std::chrono::seconds(5));
                    return !refused && refused.error().system_error == EACCES;
                }).succeeded());
    ASSERT_EQ(::chmod(endpoint.path().c_str(), 0777), 0);
    // To others root is no stranger: it connects, and is then turned away.
    EXPECT_TRUE(OtherUser([&] { return connect_to(endpoint, std::chrono::seconds(5)).has_value(); }).succeeded());
    const auto accepted = listener->accept();
    ASSERT_FALSE(accepted);
    EXPECT_NE(accepted.error().message.find("user 65534 connected to unix:"), std::string::npos)
        << accepted.error().message;
}

TEST(Endpoint, S1_OnlyADeadSocketOfOursMakesRoom) {
    const TemporaryDirectory directory;
    const std::string file = directory / "file";
    std::ofstream(file) << "kept";
    const auto listener = Listener::open(Endpoint::parse("unix:" + file).value());
    ASSERT_FALSE(listener);
    EXPECT_NE(listener.error().message.find("not a socket"), std::string::npos) << listener.error().message;
    EXPECT_TRUE(std::filesystem::is_regular_file(file));

    // What has taken the path since is left alone.
    const auto endpoint = Endpoint::parse("unix:" + directory / "socket").value();
    {
        auto first = Listener::open(endpoint);
        ASSERT_TRUE(first);
        std::filesystem::remove(endpoint.path());
        std::ofstream(endpoint.path()) << "another's";
    }
    EXPECT_TRUE(std::filesystem::exists(endpoint.path()));
}

} // namespace
} // namespace aerate::migration
