// What a source may send to do harm, against a destination alone.
#include "base/endian.hpp"
#include "migration/bytes.hpp"
#include "migration/frame.hpp"
#include "migration/messages.hpp"
#include "migration/page_frame.hpp"
#include "migration/testing/script.hpp"
#include "migration/testing/wire.hpp"

#include <gtest/gtest.h>

namespace aerate::migration {
namespace {

using namespace testing;

struct Answer {
    bool ran = false;
    std::string error;
    std::string said; ///< what the destination told the source
    bool prepared = false;
};

/// Sends all, and nothing more. Fits into a socket's buffer, or is sent by a thread.
Answer receive(std::span<const std::byte> stream, DestinationOptions options = {}) {
    auto [ours, theirs] = unix_pair();
    if (!options.session)
        options.session = known_session();
    FakeDestination guest;
    const auto send = [&, fd = ours.get()] {
        std::span<const std::byte> left = stream;
        while (!left.empty()) {
            const ssize_t sent = ::send(fd, left.data(), left.size(), MSG_NOSIGNAL);
            if (sent <= 0)
                break;
            left = left.subspan(static_cast<std::size_t>(sent));
        }
        (void)::shutdown(fd, SHUT_WR);
    };
    std::optional<std::jthread> sender;
    if (stream.size() > (64U << 10))
        sender.emplace(send);
    else
        send();
    Answer outcome;
    {
        Destination destination(std::move(theirs), guest, options);
        const auto report = destination.receive();
        outcome.ran = guest.running;
        EXPECT_EQ(report.has_value(), guest.running);
        if (!report)
            outcome.error = report.error().message;
    }
    sender.reset();
    outcome.prepared = guest.discards > 0 || guest.running;
    EXPECT_TRUE(guest.running || guest.memory() == nullptr);
    const EventFd never = std::move(*EventFd::create());
    SocketChannel channel(std::move(ours), never);
    FrameReader reader(channel, 0);
    for (auto frame = reader.receive(0ms); frame; frame = reader.receive(0ms)) {
        if (frame->kind == FrameKind::greeting)
            reader.set_session(*options.session);
        if (frame->kind == FrameKind::error)
            outcome.said = parse_error(frame->payload);
    }
    return outcome;
}

void expect_refused(Script& script, const char* why) {
    const Answer outcome = receive(script.stream());
    EXPECT_FALSE(outcome.ran) << why;
    EXPECT_NE(outcome.error.find(why), std::string::npos) << outcome.error << ", not: " << why;
    EXPECT_EQ(outcome.said, outcome.error);
}

TEST(HostileSource, TheWholeStreamIsAccepted) {
    Script script = Script::whole();
    const Answer outcome = receive(script.stream());
    EXPECT_TRUE(outcome.ran) << outcome.error;
}

TEST(HostileSource, M1_TruncatedAtEveryByte) {
    const auto stream = Script::whole().stream();
    for (std::size_t length = 0; length < stream.size(); ++length)
        ASSERT_FALSE(receive(std::span(stream).first(length)).ran) << length;
}

TEST(HostileSource, M2_EveryFlippedBitIsRefused) {
    auto stream = Script::whole().stream();
    for (std::size_t bit = 0; bit < stream.size() * 8; ++bit) {
        stream[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        ASSERT_FALSE(receive(stream).ran) << bit;
        stream[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    }
}

TEST(HostileSource, M3_AnotherVersionArchitectureOrFeatureIsRefusedBeforeMemoryIsAllocated) {
    struct Case {
        const char* why;
        std::function<void(Hello&)> change;
    };
    const std::vector<Case> cases{
        {"speaks version 0", [](Hello& hello) { hello.version = 0; }},
        {"speaks version 1 of the migration stream, this monitor version 3", [](Hello& hello) { hello.version = 1; }},
        {"speaks version 65535", [](Hello& hello) { hello.version = 65535; }},
        {"architecture 2", [](Hello& hello) { hello.architecture = 2; }},
        {"pages of 65536", [](Hello& hello) { hello.page = 65536; }},
        {"features", [](Hello& hello) { hello.features = 1ULL << 63; }},
        {"lease", [](Hello& hello) { hello.lease.emplace(); }},
    };
    for (const Case& bad : cases) {
        Hello hello = hello_for(small_layout);
        bad.change(hello);
        Script script;
        script.message(FrameKind::hello, hello);
        const Answer outcome = receive(script.stream());
        EXPECT_NE(outcome.said.find(bad.why), std::string::npos) << outcome.said;
        EXPECT_FALSE(outcome.prepared);
    }
    Script other;
    other.hello().stream()[0] = std::byte{'G'};
    EXPECT_NE(receive(other.stream()).said.find("not a migration stream"), std::string::npos);
}

TEST(HostileSource, M3_TheSourceTooSaysWhichVersionsDoNotFit) {
    for (const auto& [oldest, newest] : {std::pair<std::uint16_t, std::uint16_t>{4, 5}, {0, 0}, {5, 4}}) {
        auto greeting = Greeting{.oldest = oldest, .newest = newest, .session = known_session()};
        std::vector<std::byte> payload;
        print(payload, greeting);
        const auto parsed = parse_greeting(payload);
        EXPECT_EQ(parsed.has_value(), oldest == 4);
        if (parsed) {
            const auto checked = check_peer(*parsed, 0);
            ASSERT_FALSE(checked);
            EXPECT_NE(checked.error().message.find("version 4 to 5"), std::string::npos);
        }
    }
    EXPECT_FALSE(check_peer(Greeting{.features = 0, .session = {}}, feature_verify));
}

TEST(HostileSource, M4_AnotherVmIsRefused) {
    struct Case {
        const char* why;
        std::function<void(Hello&)> change;
    };
    const std::vector<Case> cases{
        {"no configuration of a fake guest", [](Hello& hello) { hello.config = "eight vCPUs"; }},
        {"0 memory regions", [](Hello& hello) { hello.regions.clear(); }},
        {"memory regions", [](Hello& hello) { hello.regions.resize(65, {{0}, {2U << 20}}); }},
        {"", [](Hello& hello) { hello.regions = {{{0}, {4096}}}; }},
        {"", [](Hello& hello) { hello.regions = {{{0}, {4U << 20}}, {{2U << 20}, {2U << 20}}}; }},
        {"", [](Hello& hello) { hello.regions = {{{~0ULL << 21}, {4U << 20}}}; }},
        {"", [](Hello& hello) { hello.regions = {{{0}, {0}}}; }},
        {"", [](Hello& hello) { hello.regions = {{{0}, {1ULL << 50}}}; }},
        {"configuration has", [](Hello& hello) { hello.config.resize(max_config + 1, 'x'); }},
    };
    for (const Case& bad : cases) {
        Hello hello = hello_for(small_layout);
        bad.change(hello);
        Script script;
        script.message(FrameKind::hello, hello);
        const Answer outcome = receive(script.stream());
        EXPECT_FALSE(outcome.said.empty());
        EXPECT_NE(outcome.said.find(bad.why), std::string::npos) << outcome.said;
        EXPECT_FALSE(outcome.prepared);
    }
}

TEST(HostileSource, M5_PagesThatAreNotRamOrComeTwice) {
    const auto in_round = [] {
        Script script;
        script.hello(layout_with_hole).round(1);
        return script;
    };
    constexpr std::uint64_t second = (1ULL << 32) >> 12;
    for (const std::uint64_t first : std::vector<std::uint64_t>{512ULL, 513ULL, second - 1, second + 512, 1ULL << 32,
                                                                1ULL << 51, 1ULL << 52, ~0ULL})
        for (const PageRun::Kind kind : {PageRun::Kind::data, PageRun::Kind::zero}) {
            Script script = in_round();
            expect_refused(script.pages(first, 1, kind), "not in the guest's memory");
        }
    for (const PageRun::Kind kind : {PageRun::Kind::data, PageRun::Kind::zero}) {
        Script over_the_end = in_round();
        expect_refused(over_the_end.pages(511, 2, kind), "not in the guest's memory");
        Script twice = in_round();
        expect_refused(twice.pages(5, 1).pages(5, 1, kind), "came twice");
        Script overlapping = in_round();
        expect_refused(overlapping.pages(5, 3).pages(4, 2, kind), "came twice");
    }
    Script again = in_round();
    again.pages(5, 1).round(2, true).pages(5, 1).state().state_end().go();
    EXPECT_TRUE(receive(again.stream()).ran);
}

TEST(HostileSource, M5_EachKindOfFrameComesOnlyWhenTheTableSaysSo) {
    struct Step {
        const char* where;
        std::function<Script()> reach;
        std::vector<FrameKind> may_come;
    };
    using enum FrameKind;
    const std::vector<Step> steps{
        {"greeted", [] { return Script(); }, {hello}},
        {"prepared",
         [] {
             Script s;
             s.hello();
             return s;
         },
         {round, alive}},
        {"round",
         [] {
             Script s;
             s.hello().round(1);
             return s;
         },
         {pages, round, alive}},
        {"last round",
         [] {
             Script s;
             s.hello().round(1, true);
             return s;
         },
         {pages, unneeded, FrameKind::state, state_end, alive}},
        {"state",
         [] {
             Script s;
             s.hello().round(1, true).state();
             return s;
         },
         {unneeded, FrameKind::state, state_end, alive}},
        {"ready",
         [] {
             Script s;
             s.hello().round(1, true).state().state_end();
             return s;
         },
         {go}},
    };
    for (const Step& step : steps)
        for (unsigned kind = 0; kind < 256; ++kind) {
            const auto sent = static_cast<FrameKind>(kind);
            if (sent == error || std::ranges::find(step.may_come, sent) != step.may_come.end())
                continue;
            Script script = step.reach();
            script.frame(sent);
            const Answer outcome = receive(script.stream());
            EXPECT_NE(outcome.error.find("may not come"), std::string::npos)
                << step.where << ", " << name_of(sent) << ": " << outcome.error;
            EXPECT_FALSE(outcome.ran);
        }
    Script wrong_number;
    expect_refused(wrong_number.hello().round(2), "round 2 after 0");
    Script same_number;
    expect_refused(same_number.hello().round(1).round(1), "round 1 after 1");
}

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
    EXPECT_NE(receive(repeated).error.find("was due"), std::string::npos);
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
    // Alive, and nothing else.
    Script alive;
    alive.hello();
    for (int i = 0; i < 100; ++i)
        alive.frame(FrameKind::alive);
    expect_refused(alive, "does nothing");
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
    expect_refused(without.state_end().go(), "memory was to be summed up before");
    // Once: it takes the destination long.
    for (const FrameKind again : {FrameKind::sum_up, FrameKind::unneeded, FrameKind::state, FrameKind::pages}) {
        Script script = verified();
        expect_refused(script.frame(FrameKind::sum_up).frame(again), "may not come");
    }
    Script unasked;
    expect_refused(unasked.hello().round(1, true).frame(FrameKind::sum_up), "not agreed on");
}

TEST(HostileSource, WhatItSaysIsShownWithoutControlCharacters) {
    Script script;
    const std::string text = "\x1b[2Jgone\n\xff";
    script.hello().frame(FrameKind::error, std::as_bytes(std::span(text)));
    EXPECT_NE(receive(script.stream()).error.find("?[2Jgone??"), std::string::npos);
}

} // namespace
} // namespace aerate::migration
