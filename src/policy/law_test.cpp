#include "policy/spare.hpp"
#include "policy/testing/bench_host.hpp"

#include <set>

namespace aerate::policy::testing {
namespace {

TEST(Arithmetic, never_wraps) {
    constexpr ByteCount most{~0ULL};
    EXPECT_EQ(excess({1}, {2}), ByteCount{});
    EXPECT_EQ(sum(most, {1}), most);
    EXPECT_EQ(scaled(most, 3, 2), most);
    EXPECT_EQ(scaled(most, 1, 2), ByteCount{~0ULL / 2});
    EXPECT_EQ(rate_of(most, milliseconds(1)).value, most.value);
    EXPECT_EQ(over({~0ULL}, std::chrono::hours(1)), most);
}

TEST(Arithmetic, what_decays_halves_each_half_life_whatever_the_steps) {
    constexpr milliseconds half_life = std::chrono::minutes(10);
    EXPECT_EQ(decayed(1024_MiB, half_life, half_life), 512_MiB);
    EXPECT_EQ(decayed(1024_MiB, 3 * half_life, half_life), 128_MiB);
    EXPECT_EQ(decayed(1024_MiB, 100 * half_life, half_life), ByteCount{});
    ByteCount stepwise = 1024_MiB;
    for (int i = 0; i < 3000; ++i)
        stepwise = decayed(stepwise, milliseconds(200), half_life);
    EXPECT_NEAR(static_cast<double>(stepwise.value >> 20), 512, 10);
}

TEST(Level, follows_what_is_above_the_reserve) {
    Host host{.total = 100_GiB, .available = 8_GiB, .reserve = 2_GiB};
    EXPECT_EQ(level_of(host), Level::plenty);
    host.available = 7_GiB;
    EXPECT_EQ(level_of(host), Level::tight);
    host.available = 4_GiB;
    EXPECT_EQ(level_of(host), Level::shortage);
    host.available = 1_GiB;
    EXPECT_EQ(level_of(host), Level::critical);
}

TEST(Level, follows_the_pressure_too) {
    Host host{.total = 100_GiB, .available = 50_GiB, .reserve = 2_GiB, .some = {101}};
    EXPECT_EQ(level_of(host), Level::shortage);
    host.full = {51};
    EXPECT_EQ(level_of(host), Level::critical);
    EXPECT_EQ(wanted(host, Level::critical, {}), part(100_GiB, low));
}

TEST(ShareOut, leaves_everybody_the_same_for_each_share) {
    const std::vector<Offer> offers{{300_MiB, {1000}}, {300_MiB, {2000}}, {40_MiB, {1000}}};
    const auto takes = share_out(offers, 300_MiB);
    EXPECT_EQ(takes[0].value >> 20, 200U);
    EXPECT_EQ(takes[1].value >> 20, 100U);
    EXPECT_EQ(takes[2], ByteCount{});
}

TEST(ShareOut, takes_everything_when_that_is_too_little) {
    const std::vector<Offer> offers{{300_MiB, {1}}, {8_MiB, {1'000'000}}};
    EXPECT_EQ(share_out(offers, 1_GiB), (std::vector{300_MiB, 8_MiB}));
    EXPECT_EQ(share_out(offers, {}), (std::vector{0_MiB, 0_MiB}));
    EXPECT_TRUE(share_out({}, 1_GiB).empty());
}

TEST(ShareOut, asks_one_when_little_is_wanted_of_many) {
    const std::vector<Offer> offers(100, {20_MiB, {1000}});
    ByteCount all{};
    for (const ByteCount take : share_out(offers, 10_MiB))
        all += take;
    EXPECT_EQ(all, 10_MiB);
}

TEST(Need, guard_has_a_part_of_the_need_and_the_largest_burst) {
    Guest guest{.size = 6400_MiB, .said = Statistics{.available = 6000_MiB}};
    Habits habits = observed({}, guest, milliseconds(1000));
    EXPECT_EQ(need(guest, *guest.said), 400_MiB);
    EXPECT_EQ(guard(habits, guest, Level::shortage), 164_MiB);
    guest.said->available = 5000_MiB;
    habits = observed(habits, guest, milliseconds(1000));
    EXPECT_EQ(habits.burst, 1000_MiB);
    EXPECT_EQ(guard(habits, guest, Level::shortage), 1000_MiB);
    EXPECT_EQ(guard(habits, guest, Level::critical), 164_MiB);
}

TEST(Need, cache_that_was_missed_is_hot_and_is_left) {
    TestHost host;
    Guest& guest = host.add("a");
    guest.actual = guest.target = 512_MiB;
    guest.said = Statistics{.free = 0_MiB, .available = 1_GiB, .caches = 1_GiB};
    guest.resident = 3584_MiB;
    host.shortage();
    EXPECT_EQ(host.tick("a").reason, Reason::cache_taken);
    guest.reread += 100_MiB;
    EXPECT_EQ(host.tick("a").reason, Reason::nothing_to_take);
    host.tight();
    guest.reread += 100_MiB;
    const Decision relief = host.tick("a");
    EXPECT_EQ(relief.reason, Reason::missing_cache);
    EXPECT_GE(relief.given, 64_MiB);
    EXPECT_EQ(host.tick("a").reason, Reason::kept) << "some seconds pass until the next";
}

TEST(Law, nothing_moves_when_it_is_tight) {
    TestHost host;
    host.add("a").actual = 100_MiB;
    host.guest("a").target = 100_MiB;
    host.tight();
    EXPECT_EQ(host.tick("a"), (Decision{.target = 100_MiB}));
}

TEST(Law, in_plenty_all_get_back_by_the_same_part) {
    TestHost host;
    for (const char* name : {"a", "b"}) {
        host.add(name).said->free = 0_MiB;
        host.guest(name).said->available = 1_GiB;
    }
    host.guest("a").actual = host.guest("a").target = 2_GiB;
    host.guest("b").actual = host.guest("b").target = 1_GiB;
    host.inputs.host.available = 512_MiB + 1229_MiB + 2400_MiB;
    const Decisions decisions = host.tick();
    EXPECT_EQ(decisions.guests.at({"a"}).given, 200_MiB);
    EXPECT_EQ(decisions.guests.at({"b"}).given, 100_MiB);
}

TEST(Law, a_balloon_on_its_way_up_stops_in_plenty) {
    TestHost host;
    host.add("a").actual = 100_MiB;
    host.guest("a").target = 1_GiB;
    host.inputs.host.available = 512_MiB + 1230_MiB;
    const Decision decision = host.tick("a");
    EXPECT_EQ(decision.reason, Reason::stopped);
    EXPECT_EQ(decision.target, 100_MiB);
}

TEST(Law, a_floor_that_was_raised_is_kept_at_once) {
    TestHost host;
    host.add("a").actual = 3_GiB;
    host.guest("a").target = 3_GiB;
    host.guest("a").floor = 2_GiB;
    host.tight();
    EXPECT_EQ(host.tick("a").target, 2_GiB);
}

TEST(Law, a_guest_at_its_floor_says_so) {
    TestHost host;
    host.add("a").floor = 4_GiB;
    host.shortage();
    EXPECT_EQ(host.tick("a").reason, Reason::at_floor);
}

TEST(Law, a_guest_that_is_gone_is_forgotten) {
    TestHost host;
    host.add("a");
    host.tick();
    host.inputs.guests.clear();
    EXPECT_TRUE(host.tick().guests.empty());
    EXPECT_TRUE(host.state.guests.empty());
}

TEST(Law, a_clock_that_goes_back_harms_nothing) {
    TestHost host;
    host.add("a");
    host.inputs.now = std::chrono::hours(1);
    host.tick();
    host.inputs.now = milliseconds(-5);
    host.shortage();
    EXPECT_EQ(step(host.state, host.inputs).level, Level::shortage);
    EXPECT_EQ(host.state.looked, milliseconds{});
}

TEST(Reason, each_has_words) {
    std::set<std::string_view> names;
    for (std::size_t i = 0; i < reasons.size(); ++i) {
        EXPECT_EQ(static_cast<std::size_t>(reasons[i].reason), i);
        EXPECT_TRUE(names.insert(reasons[i].name).second);
        EXPECT_FALSE(explain(reasons[i].reason).words.empty());
    }
}

TEST(Pauses, the_lowest_priority_stands_still_first_and_who_cannot_be_stopped_never) {
    const Host host{.total = 16_GiB, .available = 512_MiB, .reserve = 512_MiB};
    const Growth fast{.resident = 1_GiB, .rate = {500 * mib}};
    std::vector<Grower> growers{{.growth = fast, .priority = 1}, {.growth = fast, .priority = 9}};
    EXPECT_EQ(pauses(growers, host, milliseconds(1000), milliseconds(200)), (std::vector<bool>{true, false}));
    std::swap(growers[0].priority, growers[1].priority);
    EXPECT_EQ(pauses(growers, host, milliseconds(1000), milliseconds(200)), (std::vector<bool>{false, true}));
    growers[1].pausable = false;
    EXPECT_EQ(pauses(growers, host, milliseconds(1000), milliseconds(200)), (std::vector<bool>{false, false}))
        << "one always goes";
    growers.push_back({.growth = fast, .priority = 0});
    EXPECT_EQ(pauses(growers, host, milliseconds(1000), milliseconds(200)), (std::vector<bool>{false, false, true}));
}

} // namespace
} // namespace aerate::policy::testing
