#include "memory/page_bitmap.hpp"
#include "protocol/precopy.hpp"

#include <gtest/gtest.h>

namespace aerate::protocol {
namespace {

using Event = PrecopyEvent::Kind;
using Effect = PrecopyEffect::Kind;

static_assert(PageSet<PageBitmap>, "the set that ships");

/// 128 pages, all of them to be copied.
struct Fixture {
    Precopy<PageBitmap> precopy;

    explicit Fixture(PrecopyPlan plan = PrecopyPlan::migration) {
        for (PageBitmap* set : {&precopy.layers.log, &precopy.layers.pending, &precopy.layers.hinted})
            *set = PageBitmap({128});
        precopy.plan = plan;
        precopy.layers.pending.set({{0}, {128}});
    }
    std::optional<PrecopyEffect> step(Event kind, PageRange pages = {}) {
        return protocol::step(precopy, PrecopyEvent{kind, pages});
    }
    std::optional<Effect> effect(Event kind, PageRange pages = {}) {
        const auto effect = step(kind, pages);
        return effect ? std::optional(effect->kind) : std::nullopt;
    }
    void begin() {
        EXPECT_EQ(effect(Event::start), Effect::gather);
        EXPECT_EQ(effect(Event::gathered), Effect::publish);
        EXPECT_EQ(effect(Event::published), std::nullopt);
    }
    PageCount send_all() {
        PageCount sent;
        for (auto next = step(Event::send, {{}, {1000}}); next && next->pages.count > PageCount{};
             next = step(Event::send, {{}, {1000}}))
            sent += next->pages.count;
        return sent;
    }
};

TEST(Precopy, HintedPagesAreNotSentAndWrittenOnesAreAgain) {
    Fixture migration;
    migration.begin();
    migration.step(Event::hinted, {{32}, {64}});
    migration.precopy.layers.log.set({{40}, {2}});
    EXPECT_EQ(migration.send_all(), PageCount{64});
    EXPECT_EQ(migration.effect(Event::finish), Effect::close);
    EXPECT_EQ(migration.effect(Event::closed), Effect::freeze);
    EXPECT_EQ(migration.effect(Event::frozen), Effect::gather);
    EXPECT_EQ(migration.effect(Event::gathered), std::nullopt) << "no ID is published in the final copy";
    EXPECT_EQ(migration.step(Event::send, {{}, {1000}}), (PrecopyEffect{Effect::send, {{40}, {2}}}));
    EXPECT_EQ(migration.effect(Event::send, {{}, {1000}}), Effect::hand_over);
    EXPECT_EQ(migration.precopy.layers.hinted.count(), PageCount{62}) << "their content matters to nobody";
}

/// The guest goes on hinting while it is told to stop.
TEST(Precopy, C1_a_hint_counts_until_hints_are_closed) {
    Fixture migration;
    migration.begin();
    EXPECT_EQ(migration.effect(Event::finish), Effect::close);
    migration.step(Event::hinted, {{32}, {64}});
    EXPECT_EQ(migration.effect(Event::closed), Effect::freeze);
    EXPECT_EQ(migration.effect(Event::frozen), Effect::gather);
    EXPECT_EQ(migration.effect(Event::gathered), std::nullopt);
    EXPECT_EQ(migration.send_all(), PageCount{64});
}

TEST(Precopy, AHintAfterTheRoundChangesNothing) {
    Fixture migration;
    migration.begin();
    EXPECT_EQ(migration.effect(Event::next_round), Effect::close);
    EXPECT_EQ(migration.effect(Event::closed), Effect::gather);
    migration.step(Event::hinted, {{0}, {128}});
    EXPECT_EQ(migration.precopy.layers.pending.count(), PageCount{128});
}

TEST(Precopy, ASnapshotSendsNothingBeforeTheFreeze) {
    Fixture snapshot(PrecopyPlan::snapshot);
    snapshot.begin();
    EXPECT_EQ(snapshot.effect(Event::send, {{}, {1000}}), std::nullopt);
    snapshot.step(Event::hinted, {{0}, {100}});
    EXPECT_EQ(snapshot.effect(Event::finish), Effect::close);
    EXPECT_EQ(snapshot.effect(Event::closed), Effect::freeze);
    EXPECT_EQ(snapshot.effect(Event::frozen), Effect::gather);
    snapshot.precopy.layers.log.set({{3}, {1}});
    EXPECT_EQ(snapshot.effect(Event::gathered), std::nullopt);
    EXPECT_EQ(snapshot.send_all(), PageCount{29});
}

TEST(Precopy, EventsOutOfTurnChangeNothing) {
    Fixture migration;
    for (const Event event : {Event::gathered, Event::published, Event::hinted, Event::send, Event::next_round,
                              Event::finish, Event::closed, Event::frozen, Event::cancel}) {
        EXPECT_EQ(migration.effect(event, {{0}, {128}}), std::nullopt);
        EXPECT_EQ(migration.precopy.layers.pending.count(), PageCount{128});
    }
}

TEST(Precopy, CancelsInEveryPhase) {
    using Phase = Precopy<PageBitmap>::Phase;
    const Event path[] = {Event::start,  Event::gathered, Event::published, Event::finish,
                          Event::closed, Event::frozen,   Event::gathered};
    for (std::size_t length = 1; length <= std::size(path); ++length) {
        Fixture migration;
        for (std::size_t i = 0; i < length; ++i)
            migration.step(path[i]);
        EXPECT_EQ(migration.effect(Event::cancel), Effect::run_on);
        EXPECT_EQ(migration.precopy.phase, Phase::idle);
    }
}

} // namespace
} // namespace aerate::protocol
