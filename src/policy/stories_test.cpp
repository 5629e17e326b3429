// What went wrong with other controllers, story by story: docs/host-policy.md has where each was told.
#include "policy/testing/bench_host.hpp"

namespace aerate::policy::testing {
namespace {

TEST(Stories, Story1_need_decides_who_gives_not_the_configured_minimum) {
    TestHost host;
    Guest& starving = host.add("starving");
    starving.actual = starving.target = 3_GiB;
    starving.resident = 1_GiB;
    starving.said = Statistics{.free = 10_MiB, .available = 20_MiB, .caches = 10_MiB};
    host.add("idle");
    host.shortage();
    const Decisions decisions = host.tick();
    EXPECT_EQ(decisions.guests.at({"starving"}).reason, Reason::below_guard);
    EXPECT_LT(decisions.guests.at({"starving"}).target, 3_GiB);
    EXPECT_EQ(decisions.guests.at({"idle"}).reason, Reason::idle_taken);
    EXPECT_GT(decisions.guests.at({"idle"}).taken, 64_MiB);
}

/// Has the guest run out, and returns for how long it is held then.
milliseconds fail_once(TestHost& host) {
    Guest& guest = host.guest("a");
    guest.actual = guest.target = 1_GiB;
    guest.said = Statistics{.free = 2_GiB, .available = 2_GiB};
    ++guest.unasked_deflations;
    EXPECT_EQ(host.tick("a").reason, Reason::distress);
    const milliseconds begin = host.inputs.now;
    for (int i = 0; i < 1000 && host.held("a"); ++i)
        host.tick();
    return host.inputs.now - begin;
}

TEST(Stories, Story2_each_failure_holds_twice_as_long_up_to_ten_minutes) {
    TestHost host;
    host.add("a");
    host.tight();
    host.tick();
    for (const int seconds : {10, 20, 40, 80, 160, 320, 600, 600})
        EXPECT_EQ(fail_once(host), std::chrono::seconds(seconds));
}

TEST(Stories, Story2_time_alone_clears_nothing_but_a_balloon_that_was_borne_does) {
    TestHost host;
    host.add("a");
    host.tight();
    host.tick();
    fail_once(host);
    fail_once(host);
    for (int i = 0; i < 3600; ++i)
        host.tick();
    EXPECT_EQ(fail_once(host), std::chrono::seconds(40));

    host.guest("a").resident = 4_GiB;
    host.shortage();
    EXPECT_EQ(host.tick("a").reason, Reason::idle_taken);
    host.obey("a");
    host.tight();
    for (int i = 0; i < 40; ++i)
        host.tick();
    EXPECT_EQ(fail_once(host), std::chrono::seconds(10));
}

TEST(Stories, Story3_a_guest_is_never_taken_below_need_and_guard) {
    TestHost host;
    Guest& guest = host.add("a");
    guest.floor = 128_MiB;
    host.critical();
    for (int i = 0; i < 100; ++i) {
        host.tick();
        host.obey("a");
    }
    EXPECT_GE(guest.said->available, 64_MiB + 64_MiB);
    EXPECT_GE(guest.size - guest.actual, 1_GiB);
}

TEST(Stories, Story3_distress_is_answered_in_plenty_too) {
    TestHost host;
    Guest& guest = host.add("a");
    guest.actual = guest.target = 2_GiB;
    host.tick();
    ++guest.stalls;
    EXPECT_EQ(host.tick("a").reason, Reason::distress);
}

TEST(Stories, Story4_what_is_given_back_counts_from_the_balloon_not_from_a_pending_target) {
    TestHost host;
    Guest& guest = host.add("a");
    host.shortage();
    host.tick();
    guest.target = 3_GiB;
    guest.actual = 512_MiB;
    ++guest.unasked_deflations;
    const Decision decision = host.tick("a");
    EXPECT_EQ(decision.reason, Reason::distress);
    EXPECT_EQ(decision.target, 384_MiB);
    EXPECT_EQ(decision.given, 128_MiB);
}

TEST(Stories, Story5_no_more_than_a_step_is_taken_in_a_tick) {
    TestHost host;
    host.add("a");
    host.shortage();
    EXPECT_EQ(host.tick("a").target, 256_MiB + 64_MiB);
    host.guest("a").said->free = 0_MiB;
    EXPECT_EQ(host.tick("a").target, 64_MiB) << "cache goes in smaller steps";
}

TEST(Stories, Story6_a_guest_that_gives_no_more_is_done_and_others_are_asked) {
    TestHost host;
    Guest& guest = host.add("a");
    guest.actual = 100_MiB;
    guest.target = 400_MiB;
    host.shortage();
    host.tick("a");
    for (int i = 0; i < 3; ++i) {
        guest.target = 400_MiB;
        EXPECT_NE(host.tick("a").reason, Reason::stuck) << i;
    }
    guest.target = 400_MiB;
    host.add("b");
    const Decisions decisions = host.tick();
    EXPECT_EQ(decisions.guests.at({"a"}).reason, Reason::stuck);
    EXPECT_EQ(decisions.guests.at({"a"}).target, 100_MiB);
    EXPECT_EQ(decisions.guests.at({"b"}).reason, Reason::idle_taken);
    EXPECT_EQ(host.tick("a").reason, Reason::in_hold);
}

TEST(Stories, Story7_nothing_is_taken_from_a_guest_that_nobody_can_watch) {
    TestHost host;
    host.add("a").said.reset();
    host.critical();
    const Decision decision = host.tick("a");
    EXPECT_EQ(decision.reason, Reason::no_word);
    EXPECT_EQ(decision.target, 0_MiB);
}

TEST(Stories, Story8_a_target_is_not_kept_up_against_the_guests_driver) {
    TestHost host;
    Guest& guest = host.add("a");
    guest.actual = 132_MiB;
    guest.target = 400_MiB;
    host.tight();
    host.tick();
    ++guest.unasked_deflations;
    guest.target = 400_MiB;
    const Decision decision = host.tick("a");
    EXPECT_EQ(decision.reason, Reason::distress);
    EXPECT_LE(decision.target, 132_MiB);
    host.shortage();
    EXPECT_EQ(host.tick("a").reason, Reason::in_hold);
}

TEST(Stories, Story9_who_grows_faster_than_the_host_can_bear_stands_still) {
    TestHost host;
    for (const char* name : {"a", "b", "c"}) {
        host.add(name).resident = 1_GiB;
        host.guest(name).said = Statistics{.free = 10_MiB, .available = 10_MiB};
    }
    host.inputs.host.available = 400_MiB;
    host.tick();
    for (const char* name : {"a", "b", "c"})
        host.guest(name).resident += 100_MiB;
    const Decisions decisions = host.tick();
    unsigned standing = 0;
    for (const auto& [name, decision] : decisions.guests)
        standing += decision.pause ? 1U : 0U;
    EXPECT_EQ(standing, 2U) << "one always goes";
    host.inputs.host.available = 10_GiB;
    EXPECT_FALSE(host.tick("b").pause);
}

TEST(Stories, Story9_who_has_stood_longest_goes_next) {
    TestHost host;
    host.add("a").resident = host.add("b").resident = 1_GiB;
    host.inputs.host.available = 300_MiB;
    host.tick();
    bool a_went = false;
    bool b_went = false;
    for (int i = 0; i < 60; ++i) {
        for (const char* name : {"a", "b"})
            if (!host.state.guests.at({name}).growth.paused_since)
                host.guest(name).resident += 100_MiB;
        const Decisions decisions = host.tick();
        a_went = a_went || !decisions.guests.at({"a"}).pause;
        b_went = b_went || !decisions.guests.at({"b"}).pause;
        EXPECT_TRUE(decisions.guests.at({"a"}).pause || decisions.guests.at({"b"}).pause || i == 0);
    }
    EXPECT_TRUE(a_went && b_went);
}

TEST(Stories, Story10_free_memory_that_the_host_does_not_hold_is_taken_beside_what_is_wanted) {
    TestHost host;
    Guest& guest = host.add("a");
    guest.resident = 3_GiB; // of 2 GiB that are free, one is with the host already
    host.shortage();
    const Decision decision = host.tick("a");
    EXPECT_EQ(decision.target, 1_GiB + 256_MiB + 64_MiB);
    EXPECT_EQ(decision.taken, 256_MiB + 64_MiB);
}

TEST(Stories, Story11_nothing_is_taken_on_old_words) {
    TestHost host;
    host.add("a").said->age = milliseconds(5001);
    host.shortage();
    EXPECT_EQ(host.tick("a").reason, Reason::stale);
    host.guest("a").said->age = milliseconds(5000);
    EXPECT_EQ(host.tick("a").reason, Reason::idle_taken);
}

TEST(Stories, Story12_a_guest_that_boasts_is_asked_before_its_neighbour) {
    TestHost host;
    host.add("honest");
    host.add("liar").said = Statistics{.free = {~0ULL}, .available = {~0ULL}, .caches = {~0ULL}};
    host.guest("liar").shares = {1};
    host.inputs.host.available = 512_MiB + 610_MiB;
    const Decisions decisions = host.tick();
    EXPECT_GE(decisions.guests.at({"liar"}).taken, 255_MiB) << "a whole step";
    EXPECT_LE(decisions.guests.at({"liar"}).target, 3_GiB) << "its floor protects it from itself";
    EXPECT_LE(decisions.guests.at({"honest"}).taken, 64_MiB) << "what was still missing";
}

TEST(Stories, Story12_a_guest_that_complains_gets_back_no_more_than_was_taken) {
    TestHost host;
    Guest& guest = host.add("liar");
    guest.actual = guest.target = 1_GiB;
    guest.said = Statistics{};
    host.tick();
    ByteCount given{};
    for (int i = 0; i < 100; ++i) {
        ++guest.stalls;
        ++guest.unasked_deflations;
        given += host.tick("liar").given;
        guest.actual = guest.target;
    }
    EXPECT_LE(given, 1_GiB);
    EXPECT_EQ(guest.actual, 0_MiB);
}

} // namespace
} // namespace aerate::policy::testing
