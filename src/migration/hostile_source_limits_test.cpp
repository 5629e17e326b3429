// What a source may send to do harm: too much, too little, too slowly, or of another migration.
#include "base/endian.hpp"
#include "migration/testing/hostile_source.hpp"
#include "migration/testing/script.hpp"
#include "migration/testing/wire.hpp"
#include "migration/wire/bytes.hpp"
#include "migration/wire/frame.hpp"
#include "migration/wire/messages.hpp"
#include "migration/wire/page_frame.hpp"

#include <gtest/gtest.h>

namespace aerate::migration {
namespace {

using namespace testing;

TEST(HostileSource, M6_NothingGrowsBeyondWhatIsDeclared) {
    const auto in_round = [] {
        Script script;
        script.hello().round(1);
        return script;
    };
    Script long_run = in_round();
    expect_refused(long_run.pages(0, ~0U, PageRun::Kind::zero), "not in the guest's memory");
    const auto header = [](std::uint32_t runs, std::uint32_t stored, std::uint32_t length, std::uint32_t encoding) {
        std::vector<std::byte> payload;
        for (const std::uint32_t value : {runs, stored, length, encoding})
            append(payload, value);
        payload.resize(payload.size() + 8192);
        return payload;
    };
    for (const auto& payload : {header(1, 4096, 2U << 20, 0), header(1, 4096, 1U << 20, 0), header(1, 4096, 4096, 9),
                                header(~0U, 0, 0, 0), header(0, 0, 0, 0), header(1, ~0U, ~0U, 0)}) {
        Script script = in_round();
        script.frame(FrameKind::pages, payload);
        const Answer outcome = receive(script.stream());
        EXPECT_FALSE(outcome.ran);
        EXPECT_FALSE(outcome.error.empty());
    }
    // Rounds without an end: what can come at all is rounds times RAM.
    Script rounds;
    rounds.hello();
    for (std::uint32_t number = 1; number <= 11; ++number)
        rounds.round(number);
    const Answer outcome = receive(rounds.stream(), {.max_rounds = 10});
    EXPECT_NE(outcome.error.find("of at most 10"), std::string::npos) << outcome.error;
    // The devices' state without an end.
    Script state;
    state.hello().round(1, true);
    for (std::size_t sent = 0; sent <= max_state; sent += 1U << 20)
        state.state(1U << 20);
    EXPECT_NE(receive(state.stream()).error.find("state is empty or larger"), std::string::npos);
}

TEST(HostileSource, M7_LengthsOfNothingAndOfTooMuch) {
    for (const std::uint32_t length : {static_cast<std::uint32_t>(max_payload) + 1, 1U << 31, ~0U}) {
        // A header that is sound but for its length.
        Script script;
        std::vector<std::byte> stream = script.hello().stream();
        stream.resize(frame_header_size);
        store_little_endian<std::uint32_t>(std::span(stream).subspan(8), length);
        store_little_endian<std::uint32_t>(std::span(stream).subspan(12), 0);
        const auto sum = static_cast<std::uint32_t>(checksum(stream));
        store_little_endian<std::uint32_t>(std::span(stream).subspan(12), sum);
        EXPECT_NE(receive(stream).error.find("no more than"), std::string::npos);
    }
    using enum FrameKind;
    for (const FrameKind kind : {pages, unneeded, FrameKind::state, state_end, round}) {
        Script script;
        script.hello().round(1, kind != round).frame(kind);
        EXPECT_FALSE(receive(script.stream()).error.empty()) << name_of(kind);
    }
    Script nothing;
    EXPECT_FALSE(receive(nothing.frame(hello).stream()).prepared);
    struct Ranges {
        std::initializer_list<std::uint64_t> values;
    };
    for (const Ranges& ranges : {Ranges{{0, 0}},
                                 {{0, ~0ULL}},
                                 {{0, 513}},
                                 {{512, 1}},
                                 {{5, 1, 4, 1}},
                                 {{5, 1, 5, 1}},
                                 {{~0ULL, 2}},
                                 {{1}},
                                 {{1, 2, 3}}}) {
        Script script;
        script.hello().round(1, true).numbers(unneeded, ranges.values);
        EXPECT_NE(receive(script.stream()).error.find("malformed"), std::string::npos);
    }
    for (const std::uint64_t length : {0ULL, 99ULL, 101ULL, ~0ULL}) {
        Script script;
        script.hello().round(1, true).state().state_end(length);
        expect_refused(script, "do not agree");
    }
}

TEST(HostileSource, M8_AStreamOfAnotherMigration) {
    // Recorded whole, and played again to one that has chosen another session.
    Script recorded = Script::whole();
    Session other = known_session();
    other.value[15] = std::byte{0x34};
    EXPECT_NE(receive(recorded.stream(), {.session = other}).error.find("another migration"), std::string::npos);
    EXPECT_NE(Session::random(), Session::random());
    // A frame of another session, of another stream, or twice, in the midst of a sound one.
    Script mixed;
    mixed.hello();
    Script foreign(other);
    foreign.hello().round(1);
    const auto offset = Script().hello().length();
    auto stream = mixed.stream();
    stream.insert(stream.end(), foreign.stream().begin() + static_cast<std::ptrdiff_t>(offset), foreign.stream().end());
    EXPECT_NE(receive(stream).error.find("another migration"), std::string::npos);
    auto repeated = Script().hello().stream();
    const auto once = repeated;
    repeated.insert(repeated.end(), once.begin(), once.end());
    EXPECT_NE(receive(repeated).error.find("was expected"), std::string::npos);
}

TEST(HostileSource, M9_ASourceThatIsSlowOrSilentIsDropped) {
    const auto stream = Script::whole().stream();
    for (const bool dribbles : {false, true}) {
        for (const std::size_t sound : {std::size_t{0}, std::size_t{20}, stream.size() - 10}) {
            auto [ours, theirs] = unix_pair();
            std::jthread sender([&, fd = ours.get()](const std::stop_token& stop) {
                (void)::send(fd, stream.data(), sound, MSG_NOSIGNAL);
                // A byte each ten milliseconds would take half a minute for this stream.
                for (std::size_t at = sound; dribbles && at < stream.size() - 1 && !stop.stop_requested(); ++at) {
                    (void)::send(fd, &stream[at], 1, MSG_NOSIGNAL);
                    std::this_thread::sleep_for(10ms);
                }
            });
            FakeDestination guest;
            Destination destination(std::move(theirs), guest, {.deadline = 50ms, .session = known_session()});
            const auto start = std::chrono::steady_clock::now();
            const auto report = destination.receive();
            EXPECT_FALSE(report);
            EXPECT_LT(std::chrono::steady_clock::now() - start, 2s);
            EXPECT_FALSE(guest.running);
        }
    }
}

/// Drops a source that says that it is alive, or that begins one empty round after the other, for as long as it is
/// heard.
Result<DestinationReport> drop_idle_source(bool rounds, std::chrono::milliseconds& idle) {
    auto [ours, theirs] = unix_pair();
    std::jthread sender([&, fd = ours.get()](const std::stop_token& stop) {
        Script script;
        script.hello();
        std::size_t sent = 0;
        for (unsigned said = 1; !stop.stop_requested(); ++said) {
            rounds ? script.round(said) : script.frame(FrameKind::alive);
            const auto left = std::span(script.stream()).subspan(std::exchange(sent, script.length()));
            if (::send(fd, left.data(), left.size(), MSG_NOSIGNAL) <= 0)
                break;
            std::this_thread::sleep_for(2ms);
        }
    });
    FakeDestination guest;
    Destination destination(std::move(theirs), guest,
                            {.deadline = 60ms, .max_rounds = 1U << 30, .session = known_session()});
    auto report = destination.receive();
    idle = destination.idle();
    return report;
}

TEST(HostileSource, S10_M9_ASourceThatGetsNowhereIsDropped) {
    for (const bool rounds : {false, true}) {
        for (int attempt = 1;; ++attempt) {
            std::chrono::milliseconds idle{};
            const auto report = drop_idle_source(rounds, idle);
            ASSERT_FALSE(report);
            // A machine that is busy elsewhere may have the source say nothing for a whole deadline.
            if (attempt < 20 && report.error().message.find("nothing moved within") != std::string::npos)
                continue;
            EXPECT_NE(report.error().message.find("has made no progress"), std::string::npos) << report.error().message;
            EXPECT_GE(idle, 18 * 60ms);
            break;
        }
    }
}

TEST(HostileSource, S5_M6_AGuestThatIsTooLargeIsRefusedBeforeMemoryIsAllocated) {
    Script script;
    Hello hello = hello_for(small_layout);
    hello.regions = {{{0}, {3ULL << 30}}, {{4ULL << 30}, {1ULL << 40}}};
    script.message(FrameKind::hello, hello);
    const Answer outcome = receive(script.stream(), {.max_memory = {16ULL << 30}});
    EXPECT_NE(outcome.error.find("the guest has 1051648 MiB of memory, and at most 16384 MiB are accepted here"),
              std::string::npos)
        << outcome.error;
    EXPECT_EQ(outcome.said, outcome.error);
    EXPECT_FALSE(outcome.prepared);
}

TEST(HostileSource, M12_StateThatTheDevicesRefuseNeverRuns) {
    Script script;
    script.hello().round(1, true).frame(FrameKind::state, std::vector<std::byte>(10, std::byte{8})).state_end(10).go();
    expect_refused(script, "inconsistent");
}

TEST(HostileSource, M14_MemoryThatIsNotWhatTheSourceHadIsNotRun) {
    Hello hello = hello_for(small_layout);
    hello.features = feature_verify;
    const auto verified = [&] {
        Script script;
        script.message(FrameKind::hello, hello).round(1, true).pages(1, 1).state();
        return script;
    };
    Script other = verified();
    expect_refused(other.frame(FrameKind::sum_up).state_end().go(), "not the memory that was sent");
    Script without = verified();
    expect_refused(without.state_end().go(), "the memory checksum comes first");
    // Once: it takes the destination long.
    for (const FrameKind again : {FrameKind::sum_up, FrameKind::unneeded, FrameKind::state, FrameKind::pages}) {
        Script script = verified();
        expect_refused(script.frame(FrameKind::sum_up).frame(again), "unexpectedly");
    }
    Script unasked;
    expect_refused(unasked.hello().round(1, true).frame(FrameKind::sum_up), "not negotiated");
}

TEST(HostileSource, WhatItSaysIsShownWithoutControlCharacters) {
    Script script;
    const std::string text = "\x1b[2Jgone\n\xff";
    script.hello().frame(FrameKind::error, std::as_bytes(std::span(text)));
    EXPECT_NE(receive(script.stream()).error.find("?[2Jgone??"), std::string::npos);
}

} // namespace
} // namespace aerate::migration
