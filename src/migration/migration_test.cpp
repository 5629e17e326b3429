#include "base/testing/temporary_file.hpp"
#include "migration/testing/outcome.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <span>
#include <string>

namespace aerate::migration {
namespace {

using namespace testing;

// Where a guest writes, the rounds have an end: on a slow machine it may write faster than any link carries.

TEST(Migration, AGuestThatStandsStillMovesInOneRound) {
    for (auto* sockets : {unix_pair, tcp_pair}) {
        FakeSource from;
        FakeDestination to;
        Migration migration;
        migration.run(from, to, sockets());
        expect_moved(migration, from, to);
        EXPECT_EQ(to.loaded, 100U);
        EXPECT_EQ(migration.source.last.pages, PageCount{8});
        EXPECT_EQ(migration.source.last.zero, PageCount{}) << "what nobody has written is not told";
        EXPECT_EQ(migration.destination->pages, PageCount{8});
    }
}

TEST(Migration, AGuestThatWritesFreesAndDiscardsArrivesAsItWasLast) {
    for (const bool verify : {false, true}) {
        FakeSource from({.filled = 700, .writers = 2, .pause = 20us, .hints = true, .seed = 7});
        FakeDestination to;
        Migration migration{
            .source_options = {.downtime_limit = 1ms, .max_rounds = 5, .stop_anyway = true, .verify = verify}};
        migration.run(from, to, unix_pair());
        expect_moved(migration, from, to);
        EXPECT_GT(migration.source.last.round, 1U);
        EXPECT_GT(from.hint_rounds, 0);
        EXPECT_EQ(migration.destination->verified, verify);
    }
}

TEST(Migration, CompressedContentArrivesAsItWas) {
    for (const CompressionSetting compression :
         {CompressionSetting{Compression::lz4}, CompressionSetting{Compression::zstd},
          CompressionSetting{Compression::zstd, 7}}) {
        FakeSource from({.filled = 700, .writers = 1, .pause = 50us, .hints = true, .seed = 9});
        FakeDestination to;
        Migration migration{.source_options = {.downtime_limit = 1ms,
                                               .max_rounds = 3,
                                               .stop_anyway = true,
                                               .verify = true,
                                               .compression = {compression},
                                               .bandwidth = {16U << 20}}};
        migration.run(from, to, unix_pair());
        expect_moved(migration, from, to);
        // How much less depends on how many pages lie side by side when a round begins, and so on who is quicker.
        EXPECT_LT(migration.source.last.stored.value, migration.source.last.data.value);
    }
}

TEST(Migration, TheFormFollowsALinkOfWhichNothingIsKnown) {
    FakeSource from({.layout = two_regions({16U << 20}), .filled = 8192});
    FakeDestination to;
    Migration migration{.source_options = {.verify = true, .compression = parse_compression("auto").value()}};
    auto left = unix_pair();
    auto right = unix_pair();
    Proxy slow(std::move(left.second), std::move(right.first), {}, {20U << 20});
    migration.run(from, to, {std::move(left.first), std::move(right.second)});
    slow.join();
    expect_moved(migration, from, to);
    EXPECT_TRUE(migration.destination->verified);
    EXPECT_NE(migration.source.last.form, CompressionSetting{});
    EXPECT_EQ(migration.source.last.data, ByteCount{32U << 20});
    EXPECT_LT(migration.source.last.stored.value * 4, migration.source.last.data.value);
    EXPECT_LT(migration.source.last.wire.value * 4, migration.source.last.data.value);
}

TEST(Migration, NothingIsSentBeforeTheGuestHasSaidWhatIsFree) {
    struct Case {
        SourceOptions options;
        bool ends_rounds;
        std::uint64_t sent;
    };
    for (const Case& one : {Case{{}, true, 200}, Case{{}, false, 200}, Case{{.hints = false}, true, 1000}}) {
        // The hints take longer than the pages would.
        FakeSource from({.filled = 1000,
                         .hints = true,
                         .ends_rounds = one.ends_rounds,
                         .hint_pause = std::chrono::microseconds(50)});
        for (std::size_t i = 0; i < 1000; ++i)
            if (i % 5 != 0)
                from.free(i * 1024 / 1000);
        FakeDestination to;
        Migration migration{.source_options = one.options};
        migration.source_options.downtime_limit = 1ms;
        migration.source_options.verify = true;
        migration.source_options.hint_start = 5s; // a slow machine's hints are late
        migration.source_options.hint_pause = 1s;
        migration.run(from, to, unix_pair());
        expect_moved(migration, from, to);
        EXPECT_EQ(migration.source.last.pages, PageCount{one.sent});
        EXPECT_EQ(migration.source.last.hinted, PageCount{1000 - one.sent});
    }
}

TEST(Migration, AGuestThatClearsWhatItHintsComesToAnEnd) {
    for (const std::size_t free : {800U, 0U}) {
        FakeSource from({.filled = 1000, .hints = true, .clears_hinted = true});
        for (std::size_t i = 0; i < free; ++i)
            from.free(i * 1024 / 1000);
        // Free since long ago, and nothing in them.
        for (std::size_t i = 1000; i < 1024; ++i)
            from.free(i);
        FakeDestination to;
        Migration migration{.source_options = {.downtime_limit = 0ms, .hint_start = 100ms, .hint_pause = 20ms}};
        migration.run(from, to, unix_pair());
        expect_moved(migration, from, to);
        EXPECT_EQ(from.hint_rounds, 1);
        EXPECT_LE(migration.source.last.pages, PageCount{1000 - free});
        EXPECT_LE(migration.source.last.round, 4U);
    }
}

TEST(Migration, AGuestThatNeverHintsIsWaitedForOnlyBriefly) {
    FakeSource from({.filled = 1000, .hints = true, .ends_rounds = false});
    FakeDestination to;
    Migration migration{.source_options = {.downtime_limit = 1ms, .hint_start = 30ms}};
    migration.run(from, to, unix_pair());
    expect_moved(migration, from, to);
    EXPECT_LT(migration.source.total, 5s);
}

TEST(Migration, ProgressTellsOfEachPhaseInOrder) {
    FakeSource from({.filled = 1000, .hints = true});
    FakeDestination to;
    std::vector<SourceProgress::Phase> phases;
    Migration migration{.source_options = {.downtime_limit = 1ms, .bandwidth = {64U << 20}},
                        .progress = [&](const SourceProgress& progress) {
                            if (phases.empty() || phases.back() != progress.phase)
                                phases.push_back(progress.phase);
                        }};
    migration.run(from, to, unix_pair());
    expect_moved(migration, from, to);
    using enum SourceProgress::Phase;
    const std::vector<SourceProgress::Phase> expected{connecting, hinting, copying, stopping, handing_over, ended};
    EXPECT_EQ(phases, expected);
    EXPECT_GT(migration.source.total, 40ms) << "4 MiB at 64 MiB a second";
    EXPECT_EQ(migration.source.last.wire, migration.destination->wire);
}

TEST(Migration, C4_KernelAndInitrdGoAlong) {
    const TemporaryFile kernel((2U << 20) + 5);
    const TemporaryFile initrd(1U << 20);
    const std::string words = "boots";
    ASSERT_EQ(::pwrite(kernel.fd(), words.data(), words.size(), 2U << 20), 5);
    for (const unsigned streams : {1U, 3U}) {
        FakeSource from;
        from.attached = {
            {.kind = Attachment::Kind::kernel, .fd = kernel.fd(), .offset = {100}, .length = {(2U << 20) - 95}},
            {.kind = Attachment::Kind::initrd, .fd = initrd.fd(), .offset = {}, .length = {1U << 20}}};
        FakeDestination to;
        Migration migration{.source_options = {.streams = streams}};
        if (streams == 1)
            migration.run(from, to, unix_pair());
        else
            migration.run_streams(from, to);
        expect_moved(migration, from, to);
        EXPECT_TRUE(to.attached[0].second.size() == (2U << 20) - 95 &&
                    to.attached[1].second == initrd.contents(1U << 20));
        EXPECT_TRUE(std::ranges::equal(std::span(to.attached[0].second).last(5), std::as_bytes(std::span(words))));
    }
}

TEST(Migration, C4_ADestinationWithoutRoomForThemRefusesTheGuest) {
    const TemporaryFile kernel(4096);
    FakeSource from;
    from.attached = {{.kind = Attachment::Kind::kernel, .fd = kernel.fd(), .offset = {}, .length = {4096}}};
    FakeDestination to;
    to.fail_attach = true;
    Migration migration;
    migration.run(from, to, unix_pair());
    expect_sane(migration, from, to, false);
    EXPECT_EQ(migration.source.outcome, Outcome::stayed);
}

} // namespace
} // namespace aerate::migration
