#include "vsock/connect_command.hpp"

#include <gtest/gtest.h>

#include <string>

namespace aerate::vsock {
namespace {

using State = ConnectCommand::State;

/// Adds the text in pieces of `step` bytes, as far as it is taken.
ConnectCommand parsed(std::string_view text, std::size_t step) {
    ConnectCommand command;
    while (!text.empty() && command.state() == State::incomplete)
        text.remove_prefix(command.add(text.substr(0, step)));
    return command;
}

TEST(ConnectCommand, IsReadHoweverItIsCut) {
    const std::pair<std::string_view, std::optional<std::uint32_t>> cases[] = {
        {"CONNECT 52\n", 52},
        {"connect 52 \n", 52},
        {"Connect\t0\r\n", 0},
        {"  CONNECT   7\n", 7},
        {"CONNECT 4294967295\n", 4294967295},
        {"CONNECT 4294967296\n", {}},
        {"CONNECT -1\n", {}},
        {"CONNECT +1\n", {}},
        {"CONNECT 0x10\n", {}},
        {"CONNECT 52 53\n", {}},
        {"CONNECT\n", {}},
        {"CONNECT52\n", {}},
        {"DISCONNECT 52\n", {}},
        {"\n", {}},
        {"CONNECT 00000000000000000000052\n", 52},  // 32 bytes
        {"CONNECT 000000000000000000000052\n", {}}, // 33
    };
    for (const auto& [text, port] : cases) {
        for (std::size_t step = 1; step <= text.size(); ++step) {
            const auto command = parsed(text, step);
            ASSERT_EQ(command.state(), port ? State::complete : State::malformed) << text << " by " << step;
            if (port) {
                EXPECT_EQ(command.port(), *port);
            }
        }
        for (std::size_t length = 0; port && length < text.size(); ++length) {
            EXPECT_EQ(parsed(text.substr(0, length), 64).state(), State::incomplete);
        }
    }
}

TEST(ConnectCommand, WhatFollowsTheNewlineIsLeft) {
    ConnectCommand command;
    EXPECT_EQ(command.add("CONNECT 1\nGET / HTTP"), 10U);
    EXPECT_EQ(command.state(), State::complete);
    EXPECT_EQ(command.add("GET / HTTP"), 0U);
}

TEST(ConnectCommand, K12_IsGivenUpAfter32Bytes) {
    ConnectCommand command;
    EXPECT_EQ(command.add(std::string(100, 'x')), ConnectCommand::longest);
    EXPECT_EQ(command.state(), State::malformed);
}

} // namespace
} // namespace aerate::vsock
