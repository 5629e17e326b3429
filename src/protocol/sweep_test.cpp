#include "memory/page_bitmap.hpp"
#include "protocol/sweep.hpp"

#include <gtest/gtest.h>

namespace aerate::protocol {
namespace {

using Event = SweepEvent::Kind;
using Effect = SweepEffect::Kind;

struct Fixture {
    Sweep<PageBitmap> sweep;

    Fixture() {
        for (PageBitmap* set : {&sweep.log, &sweep.written, &sweep.hinted, &sweep.later, &sweep.zero})
            *set = PageBitmap({128});
    }
    std::optional<Effect> step(Event kind, PageRange pages = {}) {
        const auto effect = protocol::step(sweep, SweepEvent{kind, pages});
        return effect ? std::optional(effect->kind) : std::nullopt;
    }
    void begin() {
        EXPECT_EQ(step(Event::start), Effect::gather);
        sweep.log.set({{0}, {128}});
        EXPECT_EQ(step(Event::gathered), Effect::publish) << "what was written before the ID does not matter";
        EXPECT_EQ(step(Event::published), std::nullopt);
    }
};

TEST(Sweep, DiscardsWhatWasHintedAndNotWritten) {
    Fixture fixture;
    fixture.begin();
    fixture.step(Event::hinted, {{0}, {64}});
    EXPECT_EQ(fixture.step(Event::batch), Effect::hold);
    EXPECT_EQ(fixture.step(Event::held), Effect::gather);
    fixture.sweep.log.set({{10}, {1}});
    EXPECT_EQ(fixture.step(Event::gathered), Effect::discard);
    EXPECT_EQ(fixture.sweep.hinted.count(), PageCount{63});
    EXPECT_FALSE(fixture.sweep.hinted.test({10}));
    EXPECT_EQ(fixture.step(Event::discarded), Effect::resume);
    EXPECT_EQ(fixture.step(Event::resumed), std::nullopt);

    // Written since the ID, seen in the batch before: a hint that was queued earlier comes late.
    fixture.step(Event::hinted, {{10}, {1}});
    EXPECT_EQ(fixture.step(Event::round_over), Effect::hold);
    EXPECT_EQ(fixture.step(Event::held), Effect::gather);
    EXPECT_EQ(fixture.step(Event::gathered), Effect::discard);
    EXPECT_EQ(fixture.sweep.hinted.count(), PageCount{0});
    EXPECT_EQ(fixture.step(Event::discarded), Effect::finish);
}

TEST(Sweep, ARoundThatEndsWhileWritersAreBeingHeldIsTheLastBatch) {
    Fixture fixture;
    fixture.begin();
    fixture.step(Event::hinted, {{0}, {1}});
    EXPECT_EQ(fixture.step(Event::batch), Effect::hold);
    EXPECT_EQ(fixture.step(Event::round_over), std::nullopt);
    EXPECT_EQ(fixture.step(Event::held), Effect::gather);
    EXPECT_EQ(fixture.step(Event::gathered), Effect::discard);
    EXPECT_EQ(fixture.step(Event::discarded), Effect::finish);
}

TEST(Sweep, ABatchHasALimitAndTheRestIsCheckedAgain) {
    Fixture fixture;
    fixture.sweep.limit = {10};
    fixture.begin();
    fixture.step(Event::hinted, {{0}, {8}});
    fixture.step(Event::hinted, {{20}, {8}});
    EXPECT_EQ(fixture.step(Event::round_over), Effect::hold);
    EXPECT_EQ(fixture.step(Event::held), Effect::gather);
    EXPECT_EQ(fixture.step(Event::gathered), Effect::discard);
    EXPECT_EQ(fixture.sweep.hinted.count({{0}, {22}}), PageCount{10});
    EXPECT_EQ(fixture.sweep.hinted.count(), PageCount{10});
    EXPECT_EQ(fixture.step(Event::discarded), Effect::resume);
    EXPECT_EQ(fixture.step(Event::resumed), Effect::hold) << "nothing else comes to start the next batch";
    EXPECT_EQ(fixture.step(Event::held), Effect::gather);
    fixture.sweep.log.set({{25}, {1}});
    EXPECT_EQ(fixture.step(Event::gathered), Effect::discard);
    EXPECT_EQ(fixture.sweep.hinted.count(), PageCount{5});
    EXPECT_FALSE(fixture.sweep.hinted.test({25}));
    EXPECT_EQ(fixture.step(Event::discarded), Effect::finish);
}

TEST(Sweep, HintsWhileTheLogIsLookedAtDoNotCount) {
    Fixture fixture;
    fixture.begin();
    fixture.step(Event::batch);
    fixture.step(Event::held);
    fixture.step(Event::hinted, {{0}, {64}});
    EXPECT_EQ(fixture.sweep.later.count(), PageCount{0});
}

/// Debian's kernels clear a block when they take it to hint it.
TEST(Sweep, WhatWasWrittenButReadsAsZeroIsDiscardedUnlessItIsWrittenAgain) {
    Fixture fixture;
    fixture.sweep.scans = true;
    fixture.begin();
    fixture.step(Event::hinted, {{0}, {10}});
    EXPECT_EQ(fixture.step(Event::round_over), Effect::gather);
    fixture.sweep.log.set({{0}, {8}});
    EXPECT_EQ(fixture.step(Event::gathered), Effect::scan);
    EXPECT_EQ(fixture.step(Event::zero, {{0}, {6}}), std::nullopt);
    EXPECT_EQ(fixture.step(Event::scanned), Effect::hold);
    EXPECT_EQ(fixture.step(Event::held), Effect::gather);
    fixture.sweep.log.set({{2}, {1}});
    EXPECT_EQ(fixture.step(Event::gathered), Effect::discard);
    for (const std::uint64_t page : {0U, 1U, 3U, 4U, 5U, 8U, 9U})
        EXPECT_TRUE(fixture.sweep.hinted.test({page})) << page;
    EXPECT_EQ(fixture.sweep.hinted.count(), PageCount{7});
}

} // namespace
} // namespace aerate::protocol
