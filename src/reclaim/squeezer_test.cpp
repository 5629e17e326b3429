#include "balloon/config_space.hpp"
#include "balloon/testing/balloon_guest.hpp"
#include "reclaim/squeezer.hpp"

#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <vector>

namespace aerate {
namespace {

/// With a guest that has not left its statistics buffer yet, so that every question waits.
class SilentGuest : public ::testing::Test {
protected:
    SilentGuest() { guest_.start(); }
    Squeezer::Done note() {
        return [this](const Result<SqueezeReport>& report) { said_.push_back(report ? "" : report.error().message); };
    }

    balloon::testing::BalloonGuest guest_;
    std::vector<std::string> said_;
    Squeezer squeezer_{guest_.loop, guest_.fake.memory(), guest_.balloon};
};

TEST_F(SilentGuest, EndsWithItsDevice) {
    squeezer_.start({}, note());
    EXPECT_TRUE(squeezer_.busy());
    guest_.balloon.reset();
    EXPECT_FALSE(squeezer_.busy());
    ASSERT_EQ(said_.size(), 1U);
    EXPECT_NE(said_[0], "");
}

TEST_F(SilentGuest, IsAnsweredOnceWhenCancelled) {
    ASSERT_TRUE(guest_.balloon.set_target({7}));
    squeezer_.start({}, note());
    squeezer_.cancel("it is gone");
    EXPECT_EQ(said_, std::vector<std::string>{"it is gone"});
    EXPECT_EQ(guest_.balloon.target(), PageCount{7});
    guest_.balloon.reset(); // the question is answered yet
    EXPECT_EQ(said_.size(), 1U);
}

TEST_F(SilentGuest, AnAnswerToOneThatWasCancelledIsNotForTheNext) {
    squeezer_.start({}, note());
    squeezer_.cancel("once");
    unsigned asked = 0;
    squeezer_.start(
        [&asked](const balloon::GuestStatistics&) -> Result<ByteCount> {
            ++asked;
            return ByteCount{};
        },
        {.patience = std::chrono::seconds(1), .limit = std::chrono::minutes(1)}, note());
    std::array<std::byte, 10> entry;
    store_little_endian(std::span(entry), static_cast<std::uint16_t>(balloon::statistic::available_memory));
    store_little_endian(std::span(entry).subspan(2), std::uint64_t{0});
    guest_.send(balloon::Queue::statistics, {virtio::testing::readable(std::span<const std::byte>(entry))});
    EXPECT_EQ(asked, 1U);
    EXPECT_EQ(said_, (std::vector<std::string>{"once", ""}));
}

TEST_F(SilentGuest, RefusesASecondOne) {
    squeezer_.start({}, note());
    squeezer_.start({}, note());
    ASSERT_EQ(said_.size(), 1U);
    EXPECT_EQ(said_[0], "a squeeze is under way already");
    guest_.balloon.reset();
}

/// A driver with its statistics buffer at the device.
class AnsweringGuest : public ::testing::Test {
protected:
    AnsweringGuest() {
        guest_.start();
        give(ByteCount{});
    }
    void give(ByteCount available) {
        std::array<std::byte, 10> entry;
        store_little_endian(std::span(entry), static_cast<std::uint16_t>(balloon::statistic::available_memory));
        store_little_endian(std::span(entry).subspan(2), available.value);
        guest_.send(balloon::Queue::statistics, {virtio::testing::readable(std::span<const std::byte>(entry))});
    }
    /// Returns whether the balloon has asked how the guest is since it last said so.
    [[nodiscard]] bool asked() { return guest_.queue(balloon::Queue::statistics).take_used().has_value(); }
    void has(PageCount pages) {
        guest_.write_config(balloon::config_space::actual, static_cast<std::uint32_t>(pages.value));
    }
    void squeeze(Squeezer::Pace pace) {
        squeezer_.start(
            [](const balloon::GuestStatistics& said) -> Result<ByteCount> {
                return ByteCount{*said.values[balloon::statistic::available_memory]};
            },
            pace, [this](const Result<SqueezeReport>& report) { report_ = report.value(); });
        ASSERT_TRUE(asked());
        give(bytes_of(wanted));
        ASSERT_EQ(guest_.balloon.target(), wanted);
    }

    static constexpr PageCount wanted{2048};
    /// Nothing but what the squeezer itself knows keeps it from inflating after the guest ran out of memory.
    balloon::testing::BalloonGuest guest_{
        {.free_page_hinting = true, .free_page_reporting = true, .rest_after_oom = std::chrono::milliseconds(0)}};
    std::optional<SqueezeReport> report_;
    Squeezer squeezer_{guest_.loop, guest_.fake.memory(), guest_.balloon};
};

TEST_F(AnsweringGuest, IsAskedAgainWhenItsBalloonIsThere) {
    squeeze({.patience = std::chrono::minutes(1), .limit = std::chrono::minutes(1)});
    has(wanted - PageCount{1});
    guest_.run_loop(std::chrono::milliseconds(20));
    EXPECT_FALSE(asked());
    has(wanted);
    ASSERT_TRUE(guest_.run_until([this] { return asked(); }));
    give(ByteCount{});
    EXPECT_EQ(guest_.balloon.target(), PageCount{});
    has({});
    ASSERT_TRUE(guest_.run_until([this] { return report_.has_value(); }));
    EXPECT_EQ(report_->taken, bytes_of(wanted));
    EXPECT_EQ(report_->stopped_by, "");
}

TEST_F(AnsweringGuest, IsLetGoWhenItGetsNoNearer) {
    squeeze({.patience = std::chrono::milliseconds(20), .limit = std::chrono::minutes(1)});
    const auto writes = guest_.loop.every(std::chrono::milliseconds(1), [this] { has({100}); });
    ASSERT_TRUE(guest_.run_until([this] { return guest_.balloon.target() == PageCount{}; }));
    has({});
    ASSERT_TRUE(guest_.run_until([this] { return report_.has_value(); }));
    EXPECT_EQ(report_->taken, bytes_of(PageCount{100}));
    EXPECT_EQ(report_->stopped_by, "the guest found no more pages for the balloon");
}

TEST_F(AnsweringGuest, IsLetGoByAReset) {
    squeeze({.patience = std::chrono::minutes(1), .limit = std::chrono::seconds(0)});
    has({100});
    guest_.balloon.reset();
    ASSERT_TRUE(guest_.run_until([this] { return report_.has_value(); }));
    EXPECT_EQ(guest_.balloon.target(), PageCount{}) << "a squeeze is nothing that the next driver is asked for";
    EXPECT_EQ(report_->stopped_by, "the guest no longer reports statistics");
}

TEST_F(AnsweringGuest, C16_ATargetThatTheGuestHasUndercutIsNotPutBack) {
    ASSERT_TRUE(guest_.balloon.set_target({1000}));
    has({1000});
    squeezer_.start(
        [](const balloon::GuestStatistics& said) -> Result<ByteCount> {
            return ByteCount{*said.values[balloon::statistic::available_memory]};
        },
        {.patience = std::chrono::minutes(1), .limit = std::chrono::minutes(1)},
        [this](const Result<SqueezeReport>& report) { report_ = report.value(); });
    ASSERT_TRUE(asked());
    give(bytes_of(wanted));
    ASSERT_EQ(guest_.balloon.target(), wanted + PageCount{1000});
    has(wanted + PageCount{1000});
    ASSERT_TRUE(guest_.run_until([this] { return asked(); }));
    has({500}); // out of memory
    give(bytes_of(wanted));
    ASSERT_TRUE(guest_.run_until([this] { return report_.has_value(); }));
    EXPECT_EQ(report_->stopped_by, "the guest ran out of memory");
    EXPECT_EQ(guest_.balloon.target(), PageCount{500});
}

} // namespace
} // namespace aerate
