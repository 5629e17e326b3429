#include "control/host_history.hpp"
#include "policy/testing/random_history.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace aerate::control {
namespace {

using ::testing::HasSubstr;

/// Records a history of guests that lie.
std::string recorded(std::uint64_t seed, int ticks) {
    policy::testing::RandomHistory history(seed);
    std::string text = print_history_header() + '\n';
    for (int tick = 0; tick < ticks; ++tick) {
        EXPECT_FALSE(history.tick());
        text += print_host_tick({history.inputs_before(), history.decisions()}) + '\n';
    }
    return text;
}

std::string message(const Result<void>& result) {
    return result ? "" : result.error().message;
}

TEST(HostHistory, a_tick_is_read_as_it_was_written) {
    policy::testing::RandomHistory history(3);
    for (int i = 0; i < 50; ++i) {
        EXPECT_FALSE(history.tick());
        const HostTick tick{history.inputs_before(), history.decisions()};
        EXPECT_EQ(read_host_tick(print_host_tick(tick)).value(), tick);
    }
}

TEST(HostHistory, replayed_it_gives_the_same_decisions_in_pieces_of_any_size) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        const std::string text = recorded(seed, 20);
        for (const std::size_t piece : {text.size(), std::size_t{1000}, std::size_t{7}}) {
            HostReplay replay;
            for (std::size_t at = 0; at < text.size(); at += piece)
                ASSERT_EQ(message(replay.feed(std::string_view(text).substr(at, piece))), "");
            EXPECT_EQ(message(replay.finish()), "");
            EXPECT_EQ(replay.ticks(), 20U);
            EXPECT_EQ(replay.different(), 0U) << replay.first_difference();
        }
    }
}

TEST(HostHistory, a_decision_that_differs_is_named) {
    std::string text = recorded(1, 1);
    const auto at = text.rfind("\"pause\":");
    text.replace(at, text.substr(at, 13) == "\"pause\":false" ? 13 : 12,
                 text[at + 8] == 'f' ? "\"pause\":true" : "\"pause\":false");
    HostReplay replay;
    ASSERT_EQ(message(replay.feed(text)), "");
    EXPECT_EQ(replay.different(), 1U);
    EXPECT_THAT(replay.first_difference(), HasSubstr("line 2"));
    EXPECT_THAT(replay.first_difference(), HasSubstr("VM vm"));
}

TEST(HostHistory, what_is_no_history_is_refused_with_its_line) {
    const auto refusal = [](const std::string& text) {
        HostReplay replay;
        return message(replay.feed(text));
    };
    EXPECT_THAT(refusal("hello\n"), HasSubstr("history, line 1: JSON"));
    EXPECT_THAT(refusal("{\"aerate_host_history\":2}\n"), HasSubstr("version 2"));
    const std::string header = print_history_header() + '\n';
    EXPECT_THAT(refusal(header + "{}\n"), HasSubstr("history, line 2: now_ms"));
    EXPECT_THAT(refusal(header + "{\"now_ms\":-1}\n"), HasSubstr("now_ms"));
    EXPECT_THAT(refusal(header + std::string(host_tick_length_max + 1, ' ')), HasSubstr("more than"));

    std::string text = recorded(1, 1);
    text.replace(text.find("\"name\":\"vm"), 10, "\"name\":\"/m");
    EXPECT_THAT(refusal(text), HasSubstr("name: must be"));
}

TEST(HostHistory, two_guests_of_one_name_are_refused) {
    HostTick tick;
    tick.inputs.guests[{"a"}] = {};
    tick.inputs.guests[{"b"}] = {};
    tick.decisions = {.guests = {{{"a"}, {}}, {{"b"}, {}}}};
    std::string line = print_host_tick(tick);
    line.replace(line.find("\"b\""), 3, "\"a\"");
    EXPECT_THAT(read_host_tick(line).error().message, HasSubstr("the same name"));
}

TEST(HostHistory, one_that_was_cut_off_says_so) {
    std::string text = recorded(1, 3);
    text.resize(text.size() - 2);
    HostReplay replay;
    EXPECT_EQ(message(replay.feed(text)), "");
    EXPECT_EQ(replay.ticks(), 2U);
    EXPECT_THAT(message(replay.finish()), HasSubstr("line 4: it is cut off"));
    EXPECT_THAT(message(HostReplay().finish()), HasSubstr("empty"));
}

} // namespace
} // namespace aerate::control
