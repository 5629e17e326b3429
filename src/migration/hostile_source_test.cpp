// What a source may send to do harm: streams that are broken, or out of order.
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
            EXPECT_NE(outcome.error.find("unexpectedly"), std::string::npos)
                << step.where << ", " << name_of(sent) << ": " << outcome.error;
            EXPECT_FALSE(outcome.ran);
        }
    Script wrong_number;
    expect_refused(wrong_number.hello().round(2), "round 2 after 0");
    Script same_number;
    expect_refused(same_number.hello().round(1).round(1), "round 1 after 1");
}

} // namespace
} // namespace aerate::migration
