// Whatever goes wrong: one side has the guest, or nobody can know and it is stopped.
#include "base/testing/temporary_directory.hpp"
#include "migration/testing/outcome.hpp"
#include "migration/testing/wire.hpp"
#include "migration/wire/frame.hpp"
#include "migration/wire/messages.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

namespace aerate::migration {
namespace {

using namespace testing;

/// Where fsync costs nothing: what it is good for cannot be tested without pulling a plug.
struct InMemory : TemporaryDirectory {
    InMemory()
        : TemporaryDirectory("/dev/shm") {}
};

/// Both leases are open files of their own, as in two processes.
struct Leases {
    explicit Leases(const TemporaryDirectory& directory)
        : source(open(directory))
        , destination(open(directory)) {}
    static FileLease open(const TemporaryDirectory& directory) {
        auto lease = FileLease::open(directory / "lease");
        CHECK(lease);
        return std::move(*lease);
    }
    FileLease source;
    FileLease destination;
};

void harm_everywhere(Fault::Kind kind, bool tcp, std::uint64_t step, bool with_lease) {
    const std::size_t filled = step == 1 ? 0 : 1;
    const InMemory directory;
    Leases leases(directory);
    std::array<std::uint64_t, 2> length{};
    {
        FakeSource from(tiny(filled));
        FakeDestination to;
        Migration migration;
        length = migration.run(from, to, Fault{}, tcp);
        ASSERT_TRUE(to.running);
    }
    unsigned stayed = 0;
    unsigned nobody = 0;
    for (const bool to_source : {false, true}) {
        for (std::uint64_t at = 0; at < length[to_source ? 1 : 0]; at += to_source ? 1 + step / 20 : step) {
            FakeSource from(tiny(filled));
            FakeDestination to;
            Migration migration;
            migration.source_options.record_directory = directory.path();
            if (kind == Fault::Kind::stall)
                migration.source_options.deadline = migration.destination_options.deadline = 20ms;
            if (with_lease) {
                migration.source_options.lease = &leases.source;
                migration.destination_options.lease = &leases.destination;
            }
            migration.run(from, to, Fault{kind, to_source, at, static_cast<std::uint8_t>(at)}, tcp);
            nobody += expect_sane(migration, from, to, with_lease) ? 0U : 1U;
            stayed += migration.source.outcome == Outcome::stayed ? 1U : 0U;
            if (::testing::Test::HasFailure()) {
                ADD_FAILURE() << "fault at byte " << at << (to_source ? " to the source" : " to the destination");
                return;
            }
        }
    }
    EXPECT_GT(stayed, 0U);
    if (with_lease) {
        EXPECT_EQ(nobody, 0U);
    }
}

TEST(MigrationFaults, M10_CutAtEveryByteOfBothDirections) {
    harm_everywhere(Fault::Kind::cut, false, 1, false);
    harm_everywhere(Fault::Kind::cut, false, 17, false);
}
TEST(MigrationFaults, M10_CutAtEveryByteWithALeaseSomebodyAlwaysRuns) {
    harm_everywhere(Fault::Kind::cut, false, 1, true);
}
TEST(MigrationFaults, M10_ResetOfTheTcpConnection) {
    harm_everywhere(Fault::Kind::reset, true, 1, true);
}
TEST(MigrationFaults, M10_GarbageAndFlippedBitsOnTheWay) {
    harm_everywhere(Fault::Kind::garbage, false, 23, true);
    harm_everywhere(Fault::Kind::flip, false, 23, false);
}
TEST(MigrationFaults, M9_AStalledConnectionIsGivenUp) {
    harm_everywhere(Fault::Kind::stall, false, 211, true);
}

TEST(MigrationFaults, M11_WhatFailsAtEitherSideLeavesTheGuestRunningAtTheSource) {
    struct Case {
        std::string what;
        std::function<void(FakeSource&, FakeDestination&, SourceOptions&)> break_it;
    };
    const std::vector<Case> cases{
        {"not enough memory", [](auto&, auto& to, auto&) { to.fail_prepare = true; }},
        {"inconsistent", [](auto&, auto& to, auto&) { to.fail_load = true; }},
        {"no dirty log", [](auto& from, auto&, auto&) { from.fail_tracking = true; }},
        {"come to rest", [](auto& from, auto&, auto&) { from.fail_freeze = true; }},
        {"cannot be saved", [](auto& from, auto&, auto&) { from.fail_save = true; }},
        {"too large", [](auto& from, auto&, auto&) { from.state_size = max_state + 1; }},
        {"cannot record", [](auto&, auto&, SourceOptions& options) { options.record_directory = "/nonexistent"; }},
        // A directory that nobody can add a file to, root included.
        {"cannot record", [](auto&, auto&, SourceOptions& options) { options.record_directory = "/proc/self/fd"; }},
    };
    for (const Case& bad : cases) {
        FakeSource from({.filled = 50, .writers = 1});
        FakeDestination to;
        Migration migration;
        bad.break_it(from, to, migration.source_options);
        migration.run(from, to, unix_pair());
        EXPECT_EQ(migration.source.outcome, Outcome::stayed);
        EXPECT_NE(migration.source.error.find(bad.what), std::string::npos) << migration.source.error;
        EXPECT_TRUE(expect_sane(migration, from, to, false));
    }
}

TEST(MigrationFaults, C5_M11_ADiskThatCannotBeSyncedKeepsItsGuestBeforeItStandsStill) {
    FakeSource from({.filled = 50, .writers = 1});
    FakeDestination to;
    from.fail_sync = true;
    Migration migration;
    migration.run(from, to, unix_pair());
    EXPECT_EQ(migration.source.outcome, Outcome::stayed);
    EXPECT_NE(migration.source.error.find("a disk takes nothing any more"), std::string::npos)
        << migration.source.error;
    EXPECT_EQ(from.freezes, 0);
    EXPECT_TRUE(expect_sane(migration, from, to, false));
}

TEST(MigrationFaults, C5_TheGuestStandsStillOnlyAfterItsDisksWereSynced) {
    FakeSource from({.filled = 50, .writers = 1});
    FakeDestination to;
    from.sync_takes = 50ms; // much longer than a round; freeze() checks
    Migration migration;
    migration.run(from, to, unix_pair());
    EXPECT_EQ(migration.source.outcome, Outcome::moved) << migration.source.error;
    EXPECT_GE(from.syncs, 1);
    EXPECT_EQ(from.freezes, 1);
    EXPECT_TRUE(expect_sane(migration, from, to, false));
}

TEST(MigrationFaults, ADestinationThatSaysThatItDoesNotRunAfterGoLeavesTheGuestRunningAtTheSource) {
    const TemporaryDirectory directory;
    Leases leases(directory);
    for (const bool with_lease : {false, true}) {
        FakeSource from(tiny());
        FakeDestination to;
        to.fail_run = true;
        Migration migration;
        if (with_lease) {
            migration.source_options.lease = &leases.source;
            migration.destination_options.lease = &leases.destination;
        }
        migration.run(from, to, unix_pair());
        EXPECT_EQ(migration.source.outcome, Outcome::stayed) << with_lease;
        EXPECT_NE(migration.source.error.find("cannot run"), std::string::npos) << migration.source.error;
        EXPECT_TRUE(expect_sane(migration, from, to, with_lease));
    }
}

TEST(MigrationFaults, M15_CancelInEachPhaseIsIdempotentAndLeavesTheGuestRunning) {
    using Phase = SourceProgress::Phase;
    for (const Phase when : {Phase::connecting, Phase::hinting, Phase::copying, Phase::stopping, Phase::handing_over}) {
        FakeSource from({.filled = 600, .writers = 1, .pause = 10us, .hints = true});
        FakeDestination to;
        auto sockets = unix_pair();
        Destination arriving(std::move(sockets.second), to, {});
        Migration migration;
        migration.source_options = {.downtime_limit = 1ms, .max_rounds = 3, .stop_anyway = true};
        std::promise<RunningSource*> source;
        auto get_source = source.get_future().share();
        bool seen = false;
        RunningSource leaving(std::move(sockets.first), from, migration.source_options,
                              [&](const SourceProgress& progress) {
                                  if (progress.phase != when)
                                      return;
                                  seen = true;
                                  get_source.get()->cancel();
                                  get_source.get()->cancel();
                              });
        source.set_value(&leaving);
        migration.destination = arriving.receive();
        migration.source = leaving.wait();
        leaving.cancel();
        EXPECT_TRUE(seen);
        EXPECT_EQ(migration.source.outcome, Outcome::stayed) << static_cast<int>(when);
        EXPECT_NE(migration.source.error.find("cancelled"), std::string::npos) << migration.source.error;
        EXPECT_TRUE(expect_sane(migration, from, to, false));
    }
}

TEST(MigrationFaults, M15_TheDestinationCanBeCancelled) {
    FakeSource from(tiny());
    FakeDestination to;
    auto sockets = unix_pair();
    Destination arriving(std::move(sockets.second), to, {});
    Migration migration;
    arriving.cancel();
    arriving.cancel();
    RunningSource leaving(std::move(sockets.first), from, {});
    migration.destination = arriving.receive();
    migration.source = leaving.wait();
    EXPECT_TRUE(expect_sane(migration, from, to, false));
    EXPECT_EQ(migration.source.outcome, Outcome::stayed);
}

TEST(MigrationFaults, M16_AGuestThatWritesFasterThanTheLinkStaysUnlessItIsStoppedAnyway) {
    for (const bool stop_anyway : {false, true}) {
        FakeSource from({.filled = 900, .writers = 1});
        FakeDestination to;
        Migration migration;
        migration.source_options = {.downtime_limit = 0ms,
                                    .max_rounds = 3,
                                    .stop_anyway = stop_anyway,
                                    .auto_converge = true,
                                    .bandwidth = {64U << 20}};
        migration.run(from, to, unix_pair());
        EXPECT_EQ(migration.source.outcome, stop_anyway ? Outcome::moved : Outcome::stayed);
        EXPECT_TRUE(expect_sane(migration, from, to, false));
        ASSERT_GE(from.throttled.size(), 1U);
        EXPECT_EQ(from.throttled.front(), 20U);
        if (!stop_anyway) {
            EXPECT_EQ(from.throttled.back(), 0U);
            EXPECT_NE(migration.source.error.find("writes faster"), std::string::npos) << migration.source.error;
        }
    }
}

TEST(MigrationFaults, ALeaseOnOneSideOnlyOrAnotherOneIsRefused) {
    const InMemory one;
    const InMemory two;
    Leases ours(one);
    Leases theirs(two);
    for (Lease* destinations : {static_cast<Lease*>(nullptr), static_cast<Lease*>(&theirs.destination)}) {
        FakeSource from(tiny());
        FakeDestination to;
        Migration migration;
        migration.source_options.lease = &ours.source;
        migration.destination_options.lease = destinations;
        migration.run(from, to, unix_pair());
        EXPECT_EQ(migration.source.outcome, Outcome::stayed);
        EXPECT_NE(migration.source.error.find("lease"), std::string::npos) << migration.source.error;
        EXPECT_TRUE(expect_sane(migration, from, to, true));
    }
}

/// A lease of which the source's claim comes just before the destination's.
struct SourceIsFirst final : Lease {
    explicit SourceIsFirst(Lease& lease)
        : inner(lease) {}
    Result<Terms> terms() override { return inner.terms(); }
    Result<bool> claim(const Terms& terms, const Session& session, Side side) override {
        EXPECT_TRUE(inner.claim(terms, session, Side::source).value_or(false));
        return inner.claim(terms, session, side);
    }
    Lease& inner;
};

TEST(MigrationFaults, M10_ADestinationWhoseClaimComesTooLateDoesNotRun) {
    const InMemory directory;
    Leases leases(directory);
    SourceIsFirst late(leases.destination);
    FakeSource from(tiny());
    FakeDestination to;
    Migration migration;
    migration.source_options.lease = &leases.source;
    migration.destination_options.lease = &late;
    migration.run(from, to, unix_pair());
    EXPECT_EQ(migration.source.outcome, Outcome::stayed);
    EXPECT_TRUE(expect_sane(migration, from, to, true));
    EXPECT_FALSE(to.running);
}

TEST(MigrationFaults, AThousandRandomFaults) {
    std::mt19937_64 random(20261123);
    const InMemory directory;
    Leases leases(directory);
    std::array<int, 3> outcomes{};
    for (int i = 0; i < 1000 && !HasFailure(); ++i) {
        const bool with_lease = random() % 2 == 0;
        FakeSource from({.layout = {{{{0}, {2U << 20}}}, Backing::anonymous},
                         .filled = random() % 200,
                         .writers = static_cast<unsigned>(random() % 3),
                         .pause = std::chrono::microseconds(random() % 40),
                         .hints = random() % 2 == 0,
                         .ends_rounds = random() % 4 != 0,
                         .seed = random()});
        FakeDestination to;
        to.fail_load = random() % 32 == 0;
        from.fail_freeze = random() % 32 == 0;
        Migration migration;
        migration.source_options = {.downtime_limit = std::chrono::milliseconds(random() % 5),
                                    .max_rounds = 4,
                                    .stop_anyway = true,
                                    .verify = random() % 2 == 0,
                                    .hint_start = 2ms,
                                    .hint_pause = 1ms,
                                    .deadline = 25ms,
                                    .record_directory = directory.path()};
        migration.destination_options.deadline = 25ms;
        if (with_lease) {
            migration.source_options.lease = &leases.source;
            migration.destination_options.lease = &leases.destination;
        }
        constexpr Fault::Kind kinds[] = {Fault::Kind::none,  Fault::Kind::cut,  Fault::Kind::cut,    Fault::Kind::reset,
                                         Fault::Kind::stall, Fault::Kind::flip, Fault::Kind::garbage};
        // Most of what is said is said in the first and the last few hundred bytes: half of the faults are there.
        const bool to_source = random() % 3 == 0;
        const std::uint64_t range = to_source ? 320 : random() % 2 == 0 ? 4'000 : 600'000;
        const Fault fault{kinds[random() % std::size(kinds)], to_source, random() % range,
                          static_cast<std::uint8_t>(random())};
        migration.run(from, to, fault, fault.kind == Fault::Kind::reset);
        const bool somebody = expect_sane(migration, from, to, with_lease);
        EXPECT_TRUE(somebody || !with_lease);
        ++outcomes[static_cast<std::size_t>(migration.source.outcome)];
        if (HasFailure())
            ADD_FAILURE() << "migration " << i << ", fault " << static_cast<int>(fault.kind) << " at " << fault.at
                          << (to_source ? " to the source" : " to the destination");
    }
    EXPECT_GT(outcomes[static_cast<std::size_t>(Outcome::moved)], 100);
    EXPECT_GT(outcomes[static_cast<std::size_t>(Outcome::stayed)], 100);
    RecordProperty("moved", outcomes[0]);
    RecordProperty("stayed", outcomes[1]);
    RecordProperty("unknown", outcomes[2]);
}

} // namespace
} // namespace aerate::migration
