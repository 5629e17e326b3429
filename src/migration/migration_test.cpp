#include "migration/testing/wire.hpp"

#include <gtest/gtest.h>

namespace aerate::migration {
namespace {

using namespace testing;

void expect_moved(const Migration& migration, FakeSource& from, FakeDestination& to) {
    EXPECT_EQ(migration.source.outcome, Outcome::moved) << migration.source.error;
    EXPECT_TRUE(migration.destination) << migration.destination.error().message;
    EXPECT_TRUE(to.running);
    EXPECT_EQ(from.gones, 1);
    EXPECT_EQ(from.run_ons, 0);
    from.stop_writers();
    ASSERT_NE(to.memory(), nullptr);
    EXPECT_EQ(from.wrong(*to.memory()), 0U);
    EXPECT_FALSE(from.memory().write_log().active());
}

TEST(Migration, AGuestThatStandsStillMovesInOneRound) {
    for (auto* sockets : {unix_pair, tcp_pair}) {
        FakeSource from;
        FakeDestination to;
        Migration migration;
        migration.run(from, to, sockets());
        expect_moved(migration, from, to);
        EXPECT_EQ(to.loaded, 100U);
        EXPECT_EQ(migration.source.last.pages, PageCount{8});
        EXPECT_EQ(migration.source.last.zero, PageCount{1024 - 8});
        EXPECT_EQ(migration.destination->pages, PageCount{8});
    }
}

TEST(Migration, AGuestThatWritesFreesAndDiscardsArrivesAsItWasLast) {
    for (const bool verify : {false, true}) {
        FakeSource from({.filled = 700, .writers = 2, .pause = 20us, .hints = true, .seed = 7});
        FakeDestination to;
        Migration migration{.source_options = {.downtime_limit = 1ms, .verify = verify}};
        migration.run(from, to, unix_pair());
        expect_moved(migration, from, to);
        EXPECT_GT(migration.source.last.round, 1U);
        EXPECT_GT(from.hint_rounds, 0);
        EXPECT_EQ(migration.destination->verified, verify);
    }
}

} // namespace
} // namespace aerate::migration
