#include "memory/page_bitmap.hpp"
#include "protocol/sweep.hpp"

#include <gtest/gtest.h>

#include <array>

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

/// Wherever a hint comes, it is discarded in this batch or in a later one.
TEST(Sweep, C1_no_hint_is_forgotten_whenever_it_comes) {
    const std::array steps{Event::published, Event::batch,    Event::gathered,  Event::scanned,
                           Event::held,      Event::gathered, Event::discarded, Event::resumed};
    for (const bool scans : {false, true}) {
        for (std::size_t late = 0; late <= steps.size(); ++late) {
            Fixture fixture;
            fixture.sweep.scans = scans;
            fixture.step(Event::start);
            fixture.step(Event::gathered);
            PageBitmap discarded(PageCount{128});
            for (std::size_t at = 0; at < steps.size(); ++at) {
                if (at == late)
                    fixture.step(Event::hinted, {{64}, {64}});
                if (steps[at] == Event::batch)
                    fixture.step(Event::hinted, {{0}, {64}});
                if (steps[at] == Event::discarded)
                    discarded.add(fixture.sweep.hinted);
                const bool looks = at == 2 || at == 3;
                if (!looks || scans)
                    fixture.step(steps[at]);
            }
            if (late == steps.size())
                fixture.step(Event::hinted, {{64}, {64}});
            // And to the end.
            for (auto effect = fixture.step(Event::round_over); effect != Effect::finish;) {
                ASSERT_TRUE(effect);
                if (effect == Effect::discard)
                    discarded.add(fixture.sweep.hinted);
                const Event next = effect == Effect::gather    ? Event::gathered
                                   : effect == Effect::scan    ? Event::scanned
                                   : effect == Effect::hold    ? Event::held
                                   : effect == Effect::discard ? Event::discarded
                                                               : Event::resumed;
                effect = fixture.step(next);
            }
            EXPECT_EQ(discarded.count(), PageCount{128}) << "hinted before step " << late << (scans ? ", scans" : "");
        }
    }
}

TEST(Sweep, WithoutALogDiscardsWhatReadsAsZeroWhileTheGuestIsHeld) {
    Fixture fixture;
    fixture.sweep.logs = false;
    EXPECT_EQ(fixture.step(Event::start), Effect::publish);
    fixture.step(Event::published);
    fixture.step(Event::hinted, {{0}, {10}});
    EXPECT_EQ(fixture.step(Event::batch), Effect::hold);
    fixture.step(Event::hinted, {{20}, {10}});
    EXPECT_EQ(fixture.step(Event::zero, {{0}, {10}}), std::nullopt);
    EXPECT_EQ(fixture.sweep.zero.count(), PageCount{}) << "not before it is held";
    EXPECT_EQ(fixture.step(Event::held), Effect::scan);
    EXPECT_TRUE(to_scan(fixture.sweep, {9}));
    EXPECT_FALSE(to_scan(fixture.sweep, {20})) << "is of the next batch";
    fixture.step(Event::zero, {{2}, {3}});
    EXPECT_EQ(fixture.step(Event::scanned), Effect::discard);
    EXPECT_EQ(fixture.sweep.hinted.next_run({0}), (PageRange{{2}, {3}}));
    EXPECT_EQ(fixture.sweep.hinted.count(), PageCount{3});
    EXPECT_EQ(fixture.step(Event::discarded), Effect::resume);
    EXPECT_EQ(fixture.step(Event::resumed), std::nullopt);
    EXPECT_EQ(fixture.step(Event::round_over), Effect::hold);
    EXPECT_EQ(fixture.step(Event::held), Effect::scan);
    EXPECT_EQ(fixture.step(Event::scanned), Effect::discard);
    EXPECT_EQ(fixture.sweep.hinted.count(), PageCount{}) << "nothing read as zero";
    EXPECT_EQ(fixture.step(Event::discarded), Effect::finish);
}

TEST(Sweep, ARoundWithoutHintsEndsWithoutAHold) {
    Fixture fixture;
    fixture.begin();
    EXPECT_EQ(fixture.step(Event::round_over), Effect::finish);
}

TEST(Sweep, C1_a_round_that_ends_while_the_guest_catches_its_breath_is_over) {
    Fixture fixture;
    fixture.begin();
    fixture.step(Event::hinted, {{0}, {1}});
    fixture.step(Event::batch);
    fixture.step(Event::held);
    fixture.step(Event::gathered);
    EXPECT_EQ(fixture.step(Event::discarded), Effect::resume);
    EXPECT_EQ(fixture.step(Event::round_over), std::nullopt);
    EXPECT_EQ(fixture.step(Event::resumed), Effect::finish);
}

TEST(Sweep, DiscardsNothingMoreOnceItIsCancelled) {
    const std::array steps{Event::start, Event::gathered, Event::published, Event::batch,
                           Event::held,  Event::gathered, Event::discarded, Event::resumed};
    for (std::size_t stop = 1; stop < steps.size(); ++stop) {
        Fixture fixture;
        for (std::size_t at = 0; at < stop; ++at)
            fixture.step(steps[at]);
        EXPECT_EQ(fixture.step(Event::cancel), Effect::finish) << stop;
        fixture.step(Event::hinted, {{0}, {1}});
        for (const Event event : steps)
            EXPECT_EQ(fixture.step(event), std::nullopt) << stop;
        EXPECT_EQ(fixture.step(Event::cancel), std::nullopt) << "it has ended already";
    }
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
