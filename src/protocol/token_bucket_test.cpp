#include "base/codec.hpp"
#include "protocol/rate_limiter.hpp"
#include "protocol/token_bucket.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace aerate::protocol {
namespace {

using namespace std::chrono_literals;
using Time = TokenBucket::Time;
constexpr Time start{std::chrono::hours(1)};

TokenBucket bucket(std::uint64_t size, std::uint64_t burst, std::chrono::milliseconds refill) {
    return *TokenBucket::create({size, burst, refill}, start);
}

TEST(TokenBucket, NoLimitIsNoBucket) {
    EXPECT_FALSE(TokenBucket::create({0, 5, 1000ms}, start));
    EXPECT_FALSE(TokenBucket::create({1000, 5, 0ms}, start));
}

TEST(TokenBucket, StartsFullAndFillsEvenly) {
    auto b = bucket(1000, 0, 1000ms);
    EXPECT_TRUE(b.take(1000, start).ok);
    EXPECT_FALSE(b.take(1, start).ok);
    EXPECT_FALSE(b.take(251, start + 250ms).ok);
    EXPECT_TRUE(b.take(250, start + 250ms).ok);
    EXPECT_FALSE(b.take(1, start + 250ms).ok);
    EXPECT_TRUE(b.take(1000, start + 1250ms).ok);
}

TEST(TokenBucket, TheBurstComesFirstAndOnce) {
    auto b = bucket(100, 50, 1000ms);
    EXPECT_TRUE(b.take(30, start).ok);
    EXPECT_EQ(b.level(start), (TokenBucketLevel{100, 20, 0}));
    EXPECT_TRUE(b.take(100, start).ok);
    EXPECT_EQ(b.level(start), (TokenBucketLevel{20, 0, 0}));
    EXPECT_TRUE(b.take(100, start + 10s).ok);
    EXPECT_FALSE(b.take(1, start + 10s).ok) << "the burst is not refilled";
}

TEST(TokenBucket, WhatNoBucketHoldsIsGivenAndPaidFor) {
    auto b = bucket(100, 0, 1000ms);
    const auto taken = b.take(350, start);
    EXPECT_TRUE(taken.ok);
    EXPECT_EQ(taken.pause, 2500ms);
    EXPECT_EQ(b.level(start).budget, 0U);
}

TEST(TokenBucket, TheTimeOfAFractionIsKept) {
    auto b = bucket(3, 0, 1000ms);
    ASSERT_TRUE(b.take(3, start).ok);
    // A look every 100 ms: 3 tokens a second, though none of the looks sees a whole one of its own.
    unsigned got = 0;
    for (int i = 1; i <= 100; ++i)
        got += b.take(1, start + i * 100ms).ok ? 1U : 0U;
    EXPECT_GE(got, 29U);
    EXPECT_LE(got, 30U);
}

TEST(TokenBucket, PutBackIsNeverMoreThanFull) {
    auto b = bucket(100, 10, 1000ms);
    ASSERT_TRUE(b.take(4, start).ok);
    b.put_back(100);
    EXPECT_EQ(b.level(start).burst, 10U);
    ASSERT_TRUE(b.take(60, start).ok);
    b.put_back(~0ULL);
    EXPECT_EQ(b.level(start).budget, 100U);
}

/// However it is asked: never more than burst, a bucket and the rate, beyond what it was in debt for; never less than
/// the rate to one who asks often.
TEST(TokenBucket, GivesNeitherMoreNorLessThanItsRate) {
    std::mt19937_64 random(13);
    for (int run = 0; run < 300; ++run) {
        const std::uint64_t size = 1 + random() % (run % 3 == 0 ? 20 : 1'000'000);
        const std::uint64_t burst = run % 2 == 0 ? 0 : random() % (2 * size);
        const std::chrono::milliseconds refill(1 + random() % 5000);
        auto b = bucket(size, burst, refill);
        Time now = start;
        std::uint64_t given = 0;
        for (int step = 0; step < 400; ++step) {
            now += std::chrono::nanoseconds(random() % (static_cast<std::uint64_t>(refill.count()) * 20'000 + 1));
            const std::uint64_t tokens = random() % size;
            const auto taken = b.take(tokens, now);
            ASSERT_EQ(taken.pause, 0ms);
            given += taken.ok ? tokens : 0;
            const auto level = b.level(now);
            ASSERT_LE(level.budget, size);
            ASSERT_LE(level.burst, burst);
            const double seconds = std::chrono::duration<double>(now - start) / std::chrono::duration<double>(refill);
            ASSERT_LE(static_cast<double>(given),
                      static_cast<double>(burst + size) + seconds * static_cast<double>(size) + 1)
                << "size " << size << " burst " << burst << " refill " << refill.count();
        }
    }
}

TEST(TokenBucket, TheLargestNumbersDoNotOverflow) {
    auto b = bucket(~0ULL, ~0ULL, TokenBucket::refill_time_max);
    EXPECT_TRUE(b.take(~0ULL, start).ok);
    EXPECT_TRUE(b.take(~0ULL, start).ok);
    EXPECT_FALSE(b.take(~0ULL, start + 24h).ok);
    EXPECT_TRUE(b.take(1'000'000, start + 24h).ok);
    auto tiny = bucket(1, 0, TokenBucket::refill_time_max);
    EXPECT_EQ(tiny.take(~0ULL, start).pause, TokenBucket::pause_max);
}

TEST(RateLimiter, TakesBothOrNeither) {
    RateLimiter limiter({.bandwidth = TokenBucketLimit{1000, 0, 1000ms}, .operations = TokenBucketLimit{2, 0, 1000ms}},
                        start);
    EXPECT_TRUE(limiter.take(600, start));
    EXPECT_FALSE(limiter.take(600, start)) << "bytes are missing";
    EXPECT_EQ(limiter.save(start).operations->budget, 1U) << "and the operation was given back";
    EXPECT_EQ(limiter.blocked_until(start), start + RateLimiter::pause);
    EXPECT_FALSE(limiter.take(1, start + 99ms)) << "while it blocks, everything fails";
    EXPECT_TRUE(limiter.take(400, start + 100ms));
}

TEST(RateLimiter, OverConsumptionBlocksForAsLongAsItTakes) {
    RateLimiter limiter({.bandwidth = TokenBucketLimit{1000, 0, 100ms}}, start);
    EXPECT_TRUE(limiter.take(65562, start));
    EXPECT_EQ(limiter.blocked_until(start), start + 6456ms);
    EXPECT_FALSE(limiter.take(1, start + 6455ms));
    EXPECT_TRUE(limiter.take(1, start + 6456ms));
}

TEST(RateLimiter, AChangeLeavesWhatItDoesNotName) {
    RateLimiter limiter({.bandwidth = TokenBucketLimit{10, 0, 1000ms}, .operations = TokenBucketLimit{1, 0, 1000ms}},
                        start);
    limiter.change({.operations = TokenBucketLimit{0, 0, 0ms}}, start);
    EXPECT_TRUE(limiter.take(5, start));
    EXPECT_TRUE(limiter.take(5, start));
    EXPECT_FALSE(limiter.take(5, start));
    limiter.change({.bandwidth = TokenBucketLimit{10, 0, 0ms}}, start);
    EXPECT_FALSE(limiter.limits());
}

TEST(RateLimiter, SavedStateGoesOnWhereItWas) {
    const RateLimits limits{.bandwidth = TokenBucketLimit{1000, 50, 1000ms}};
    RateLimiter limiter(limits, start);
    ASSERT_TRUE(limiter.take(3050, start));
    Encoder encoder;
    encoder(limiter.save(start + 500ms));
    const auto bytes = encoder.take();

    RateLimiterState state;
    Decoder decoder(bytes);
    decoder(state);
    ASSERT_TRUE(decoder.complete());
    EXPECT_EQ(state, limiter.save(start + 500ms));
    const Time later = start + 24h;
    RateLimiter restored(limits, later);
    restored.restore(state, later);
    EXPECT_FALSE(restored.take(1, later + 1499ms));
    EXPECT_TRUE(restored.take(1000, later + 1500ms));
    EXPECT_FALSE(restored.take(1000, later + 1500ms)) << "the burst is spent";
}

TEST(RateLimiter, AHostileStateIsNoMoreThanAFullBucket) {
    RateLimiter limiter({.bandwidth = TokenBucketLimit{10, 5, 1000ms}}, start);
    limiter.restore({.bandwidth = TokenBucketLevel{~0ULL, ~0ULL, ~0ULL},
                     .operations = TokenBucketLevel{~0ULL, ~0ULL, ~0ULL},
                     .blocked_milliseconds = ~0ULL},
                    start);
    EXPECT_EQ(limiter.blocked_until(start), start + TokenBucket::pause_max);
    EXPECT_EQ(limiter.save(start).bandwidth, (TokenBucketLevel{10, 5, 1'000'000'000}));
}

} // namespace
} // namespace aerate::protocol
