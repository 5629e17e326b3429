#include "balloon/statistics.hpp"
#include "balloon/testing/balloon_guest.hpp"

#include <gtest/gtest.h>

namespace aerate::balloon {
namespace {

using namespace testing;
using namespace std::chrono_literals;

struct Entry {
    std::uint16_t tag;
    std::uint64_t value;
};

std::vector<std::byte> entries(std::initializer_list<Entry> list) {
    std::vector<std::byte> bytes(list.size() * 10);
    std::span<std::byte> rest(bytes);
    for (const Entry& entry : list) {
        store_little_endian(rest, entry.tag);
        store_little_endian(rest.subspan(2), entry.value);
        rest = rest.subspan(10);
    }
    return bytes;
}

struct StatisticsTest : ::testing::Test, BalloonGuest {
    bool give(std::initializer_list<Entry> list) {
        return send(Queue::statistics, {readable(std::span<const std::byte>(entries(list)))}).has_value();
    }
    [[nodiscard]] std::optional<std::uint64_t> latest(std::size_t tag) {
        return balloon.statistics().latest().values[tag];
    }
    void ask() {
        balloon.statistics().request([this](const Result<GuestStatistics>& answer) { answers.push_back(answer); });
    }
    std::vector<Result<GuestStatistics>> answers;
};

TEST_F(StatisticsTest, TheFirstBufferIsKept) {
    start();
    EXPECT_FALSE(give({{4, 100}, {5, 200}}));
    EXPECT_EQ(latest(4), 100U);
    EXPECT_EQ(latest(5), 200U);
    EXPECT_EQ(latest(0), std::nullopt);
    EXPECT_EQ(queue(Queue::statistics).device().in_flight(), 1U);
}

TEST_F(StatisticsTest, ARequestReturnsTheBufferAndWaitsForFreshNumbers) {
    start();
    give({{4, 100}});
    ask();
    EXPECT_TRUE(answers.empty());
    ASSERT_TRUE(queue(Queue::statistics).take_used());
    EXPECT_EQ(host.interrupts, std::vector{index(Queue::statistics)});
    ask();
    give({{4, 101}});
    ASSERT_EQ(answers.size(), 2U);
    EXPECT_EQ(answers[0]->values[4], 101U);
    EXPECT_EQ(answers[1]->values[4], 101U);
}

TEST_F(StatisticsTest, ARequestBeforeTheFirstBuffer) {
    start();
    ask();
    give({{4, 1}});
    ASSERT_EQ(answers.size(), 1U);
    EXPECT_TRUE(answers[0].has_value());
}

TEST_F(StatisticsTest, ARequestEndsInEveryCase) {
    ask();
    ASSERT_EQ(answers.size(), 1U);
    EXPECT_FALSE(answers[0].has_value()) << "no driver";
    start();
    ask();
    balloon.reset();
    ASSERT_EQ(answers.size(), 2U);
    EXPECT_FALSE(answers[1].has_value()) << "reset";

    Counters counters;
    Statistics impatient(fake.memory(), loop, counters, 1ms);
    FakeQueue stats_queue = fake.queue(8, split_ring);
    impatient.attach(stats_queue.device(), {2}, host);
    impatient.request([this](const Result<GuestStatistics>& answer) { answers.push_back(answer); });
    run_loop(20ms);
    ASSERT_EQ(answers.size(), 3U);
    EXPECT_FALSE(answers[2].has_value()) << "no answer";
}

TEST_F(StatisticsTest, PollsAtAnInterval) {
    start();
    give({{4, 100}});
    balloon.statistics().set_interval(1s);
    run_loop(1100ms);
    EXPECT_TRUE(queue(Queue::statistics).take_used());
    balloon.statistics().set_interval(0s);
}

TEST_F(StatisticsTest, C16_NumbersHaveAnAge) {
    start();
    EXPECT_FALSE(balloon.statistics().age()) << "there are none";
    give({{4, 100}});
    ASSERT_TRUE(balloon.statistics().age());
    EXPECT_LE(*balloon.statistics().age(), balloon.statistics().age_limit());
    balloon.reset();
    EXPECT_TRUE(balloon.statistics().age()) << "they stay, and grow old";
    EXPECT_EQ(balloon.statistics().age_limit(), 15s);
    balloon.statistics().set_interval(60s);
    EXPECT_EQ(balloon.statistics().age_limit(), 180s);
}

TEST_F(StatisticsTest, B17_Tags) {
    start();
    give({{15, 7}, {16, 1}, {65534, 2}, {65535, 3}, {3, 1}, {3, ~0ULL}});
    EXPECT_EQ(latest(15), 7U);
    EXPECT_EQ(latest(3), ~0ULL) << "the last of two wins";
}

TEST_F(StatisticsTest, B17_Lengths) {
    start();
    auto bytes = entries({{4, 1}, {5, 2}});
    bytes.pop_back();
    send(Queue::statistics, {readable(std::span<const std::byte>(bytes))});
    EXPECT_EQ(latest(4), 1U);
    EXPECT_EQ(latest(5), std::nullopt);
    EXPECT_EQ(skips(SkipReason::bad_length), 1U);

    balloon.statistics().return_buffer();
    send(Queue::statistics, {readable_at({0}, 0xffff'ffff)});
    EXPECT_EQ(skips(SkipReason::oversized), 1U);
    balloon.statistics().return_buffer();
    send(Queue::statistics, {readable_at({3ULL << 30}, 20)});
    EXPECT_EQ(skips(SkipReason::buffer_outside_ram), 1U);
    balloon.statistics().return_buffer();
    send(Queue::statistics, {writable(20)});
    EXPECT_EQ(skips(SkipReason::wrong_direction), 1U);
}

TEST_F(StatisticsTest, B17_AnEntrySplitAcrossBuffers) {
    start();
    const auto bytes = entries({{4, 1}, {5, 0x1234'5678'9abc}});
    const std::span<const std::byte> all(bytes);
    send(Queue::statistics, {readable(all.first(11)), readable(all.subspan(11))});
    EXPECT_EQ(latest(5), 0x1234'5678'9abcU);
}

TEST_F(StatisticsTest, B17_ASecondBufferGoesBack) {
    start();
    EXPECT_FALSE(give({{4, 1}}));
    EXPECT_TRUE(give({{4, 2}}));
    EXPECT_EQ(latest(4), 1U);
    EXPECT_EQ(skips(SkipReason::second_statistics_buffer), 1U);
}

TEST_F(StatisticsTest, PauseHoldsNoBuffer) {
    start();
    give({{4, 1}});
    bool quiesced = false;
    balloon.pause([&] { quiesced = true; });
    EXPECT_TRUE(quiesced);
    EXPECT_EQ(queue(Queue::statistics).device().in_flight(), 0U);
    EXPECT_TRUE(queue(Queue::statistics).take_used());
    ask();
    EXPECT_FALSE(give({{4, 2}}));
    EXPECT_EQ(latest(4), 1U);
    balloon.resume();
    EXPECT_EQ(host.kicks_again.size(), queue_kinds);
    kick(Queue::statistics);
    EXPECT_EQ(latest(4), 2U);
    EXPECT_EQ(answers.size(), 1U);
}

} // namespace
} // namespace aerate::balloon
