#include "platform/limited_output.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>

namespace aerate {
namespace {

using std::chrono::milliseconds;

struct Collected final : ConsoleOutput {
    std::size_t write(std::span<const std::byte> bytes) override {
        const std::size_t count = std::min(room, bytes.size());
        for (const std::byte byte : bytes.first(count))
            text += static_cast<char>(byte);
        room -= count;
        return count;
    }
    [[nodiscard]] int writable_fd() const override { return 7; }
    std::string text;
    std::size_t room = 1000;
};

/// So slow that nothing is filled up while a test runs.
protocol::TokenBucket bucket(std::uint64_t size, std::uint64_t burst = 0) {
    return *protocol::TokenBucket::create(
        {.size = size, .one_time_burst = burst, .refill_time = protocol::TokenBucket::refill_time_max},
        std::chrono::steady_clock::now());
}

std::size_t write(LimitedOutput& output, std::string_view text) {
    return output.write(std::as_bytes(std::span(text)));
}

TEST(LimitedOutput, WhatIsBeyondTheLimitIsDropped) {
    const auto collected = std::make_shared<Collected>();
    LimitedOutput output(collected, bucket(4, 2));
    EXPECT_EQ(write(output, "abc"), 3U);
    EXPECT_EQ(write(output, "defgh"), 5U) << "nothing waits";
    EXPECT_EQ(write(output, "i"), 1U);
    EXPECT_EQ(collected->text, "abcdef");
    EXPECT_EQ(output.dropped_bytes(), 3U);
    EXPECT_EQ(output.writable_fd(), 7);
}

TEST(LimitedOutput, WhatTheOutputDoesNotTakeYetIsNotPaidFor) {
    const auto collected = std::make_shared<Collected>();
    collected->room = 2;
    LimitedOutput output(collected, bucket(4));
    EXPECT_EQ(write(output, "abc"), 2U);
    EXPECT_EQ(write(output, "c"), 0U) << "it is full for now";
    EXPECT_EQ(output.dropped_bytes(), 0U);
    collected->room = 1000;
    EXPECT_EQ(write(output, "cde"), 3U);
    EXPECT_EQ(collected->text, "abcd");
    EXPECT_EQ(output.dropped_bytes(), 1U);
}

} // namespace
} // namespace aerate
