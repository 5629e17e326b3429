// The checker itself: each rule notices what breaks it.
#include "policy/testing/bench_host.hpp"

namespace aerate::policy::testing {
namespace {

/// A guest that could give, in a tick without faults; tests spoil the decision.
struct Checked : TestHost {
    Checked() {
        add("a");
        shortage();
        decisions = tick();
        guest("a").target = {};
    }
    Decision& decision() { return decisions.guests.at({"a"}); }
    std::string broken(milliseconds elapsed = std::chrono::seconds(1)) const {
        const auto found = broken_invariant(state, inputs, decisions, elapsed);
        return found ? std::string(found->rule.substr(0, 2)) : "";
    }
    Decisions decisions;
};

TEST(Invariants, what_the_law_decides_breaks_none) {
    EXPECT_EQ(Checked().broken(), "");
}

TEST(Invariants, I1_a_target_below_the_floor) {
    Checked checked;
    checked.decision().target = 3_GiB + 1_MiB;
    EXPECT_EQ(checked.broken(), "I1");
}

TEST(Invariants, I2_old_words_and_more_than_there_is_to_spare) {
    Checked checked;
    checked.decision().target = 3_GiB - 127_MiB;
    EXPECT_EQ(checked.broken(), "I2");
    checked.decision().target = 3_GiB - 128_MiB;
    EXPECT_EQ(checked.broken(), "");
    checked.guest("a").said->age = milliseconds(5001);
    EXPECT_EQ(checked.broken(), "I2");
}

TEST(Invariants, I3_in_plenty_and_in_a_hold) {
    Checked checked;
    checked.state.guests.at({"a"}).hold.fail(checked.inputs.now);
    EXPECT_EQ(checked.broken(), "I3");
    Checked other;
    other.plenty();
    EXPECT_EQ(other.broken(), "I3");
}

TEST(Invariants, I4_too_much_given_back) {
    Checked checked;
    checked.guest("a").actual = checked.guest("a").target = 2_GiB;
    checked.inputs.host.available = 10_GiB;
    checked.decision() = {.target = 1_GiB, .reason = Reason::given_back};
    EXPECT_EQ(checked.broken(), "");
    EXPECT_EQ(checked.broken(milliseconds(200)), "I4");
}

TEST(Invariants, I5_nobody_is_asked_and_somebody_has_no_reason) {
    Checked checked;
    checked.decision() = {};
    EXPECT_EQ(checked.broken(), "I5");
    checked.decision().reason = Reason::nothing_to_take;
    EXPECT_EQ(checked.broken(), "");
}

} // namespace
} // namespace aerate::policy::testing
