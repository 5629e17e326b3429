#include "base/testing/temporary_directory.hpp"
#include "migration/endpoint.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

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

} // namespace
} // namespace aerate::migration
