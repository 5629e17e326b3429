#include "protocol/hand_off.hpp"

#include <gtest/gtest.h>

namespace aerate::protocol {
namespace {

using S = HandOffSource;
using D = HandOffDestination;

TEST(HandOff, TheFiveSteps) {
    S source{.has_lease = true};
    D destination{.has_lease = true};
    EXPECT_EQ(step(source, S::Event::all_sent), S::Effect::send_state);
    EXPECT_EQ(step(destination, D::Event::state), D::Effect::send_ready);
    EXPECT_EQ(step(source, S::Event::ready), S::Effect::record_given);
    EXPECT_EQ(step(source, S::Event::recorded), S::Effect::send_go);
    EXPECT_EQ(step(destination, D::Event::go), D::Effect::claim);
    EXPECT_EQ(step(destination, D::Event::won), D::Effect::run_and_ack);
    EXPECT_EQ(step(source, S::Event::ack), S::Effect::destroy);
}

TEST(HandOff, TheSourceResumesOnTroubleUntilItHasGiven) {
    const S::Event path[] = {S::Event::all_sent, S::Event::ready};
    for (std::size_t length = 0; length <= std::size(path); ++length) {
        S source;
        for (std::size_t i = 0; i < length; ++i)
            step(source, path[i]);
        EXPECT_EQ(step(source, S::Event::trouble), S::Effect::resume);
        EXPECT_EQ(step(source, S::Event::ack), std::nullopt);
    }
}

TEST(HandOff, AfterGoOnlyTheLeaseDecides) {
    for (const bool has_lease : {true, false}) {
        S source{.phase = S::Phase::given, .has_lease = has_lease};
        EXPECT_EQ(step(source, S::Event::trouble), has_lease ? S::Effect::claim : S::Effect::ask_operator);
    }
    S source{.phase = S::Phase::claiming, .has_lease = true};
    EXPECT_EQ(step(source, S::Event::lost), S::Effect::destroy);
}

TEST(HandOff, ADestinationThatRefusesEvenAfterGoLeavesTheGuestToTheSource) {
    for (const auto phase : {S::Phase::copying, S::Phase::offered, S::Phase::recording, S::Phase::given})
        for (const bool has_lease : {true, false}) {
            S source{.phase = phase, .has_lease = has_lease};
            EXPECT_EQ(step(source, S::Event::refused), S::Effect::resume);
        }
}

TEST(HandOff, TheDestinationNeverRunsWithoutGo) {
    for (const auto event : {D::Event::state, D::Event::bad_state, D::Event::trouble, D::Event::won, D::Event::lost}) {
        D destination;
        step(destination, D::Event::state);
        EXPECT_NE(step(destination, event), D::Effect::run_and_ack);
    }
    D mismatched;
    EXPECT_EQ(step(mismatched, D::Event::bad_state), D::Effect::send_mismatch);
    EXPECT_EQ(step(mismatched, D::Event::go), std::nullopt);
}

} // namespace
} // namespace aerate::protocol
