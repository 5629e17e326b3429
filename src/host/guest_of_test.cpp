#include "host/guest_of.hpp"
#include "host/orders_of.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace aerate::hostd {
namespace {

using namespace std::chrono_literals;
using namespace aerate::literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::string_view typical =
    R"({"state":"Running","size_bytes":1073741824,"target_bytes":67108864,"actual_bytes":33554432,
        "resident_bytes":536870912,"statistics":{"free_memory":1048576,"available_memory":2097152,"disk_caches":4096,
        "major_faults":3,"swap_in":100,"oom_kill":1,"alloc_stall":2},"statistics_age_ms":1500,
        "unasked_deflations":7,"memory_policy":{"memory_floor_mib":128,"memory_shares":2000,"memory_priority":1},
        "of_a_later_version":[1]})";

TEST(Pulse, is_read_with_what_later_monitors_say_besides) {
    const auto pulse = read_pulse(typical);
    ASSERT_TRUE(pulse) << pulse.error().message;
    const policy::Guest guest = guest_of(*pulse, wishes_of(*pulse, {}, {}), 500ms, true);
    EXPECT_EQ(guest, (policy::Guest{
                         .size = 1_GiB,
                         .floor = 128_MiB,
                         .shares = {2000},
                         .target = 64_MiB,
                         .actual = 32_MiB,
                         .resident = 512_MiB,
                         .said = policy::Statistics{.free = 1_MiB, .available = 2_MiB, .caches = 4_KiB, .age = 2000ms},
                         .unasked_deflations = 7,
                         .stalls = 3,
                         .reread = ByteCount{3 * 4096 + 100},
                         .priority = 1,
                         .pausable = true}));
}

TEST(Pulse, nonsense_is_an_error) {
    for (const std::string_view text :
         {"", "[]", "null", "{}", R"({"state":"Running"})", R"({"state":"Odd","size_bytes":1})",
          R"({"state":"Running","size_bytes":-1})", R"({"state":"Running","size_bytes":1e99})",
          R"({"state":"Running","size_bytes":1,"statistics":{"free_memory":"much"}})",
          R"({"state":"Running","size_bytes":1,"statistics_age_ms":"old"})"})
        EXPECT_FALSE(read_pulse(text)) << text;
}

TEST(Pulse, the_largest_numbers_do_not_wrap) {
    constexpr std::uint64_t most = ~0ULL;
    Pulse pulse{.state = control::VmState::running,
                .size = {most},
                .statistics = {{"free_memory", most},
                               {"alloc_stall", most},
                               {"oom_kill", most},
                               {"major_faults", most},
                               {"swap_in", most}},
                .statistics_age = std::chrono::milliseconds::max()};
    const policy::Guest guest = guest_of(pulse, wishes_of(pulse, {}, {}), 1h, true);
    EXPECT_EQ(guest.stalls, most);
    EXPECT_EQ(guest.reread.value, most);
    EXPECT_GT(guest.said->age, 24h);
}

TEST(Pulse, a_guest_without_statistics_has_no_word) {
    Pulse pulse{
        .state = control::VmState::running, .size = 1_GiB, .statistics = {{"major_faults", 1}}, .statistics_age = 1ms};
    EXPECT_FALSE(guest_of(pulse, {}, 0ms, true).said);
    pulse.statistics["free_memory"] = 5;
    EXPECT_EQ(guest_of(pulse, {}, 0ms, true).said->available.value, 5U);
    pulse.statistics_age.reset();
    EXPECT_FALSE(guest_of(pulse, {}, 0ms, true).said);
}

TEST(Wishes, what_is_nearer_to_the_vm_counts) {
    Pulse pulse{.size = 1_GiB};
    EXPECT_EQ(wishes_of(pulse, {}, {}), (Wishes{.floor = 256_MiB}));
    EXPECT_EQ(wishes_of(pulse, {}, {.floor = 64_MiB, .shares = 7}), (Wishes{.floor = 64_MiB, .shares = 7}));
    pulse.memory_policy = control::MemoryPolicy{.floor = 100_MiB, .shares = 8};
    EXPECT_EQ(wishes_of(pulse, {}, {.floor = 64_MiB, .shares = 7}), (Wishes{.floor = 100_MiB, .shares = 8}));
    EXPECT_EQ(wishes_of(pulse, {.floor = 4_GiB, .priority = 0}, {}),
              (Wishes{.floor = 1_GiB, .shares = 8, .priority = 0}))
        << "and no floor is above the VM";
}

TEST(OldStatus, says_the_same) {
    control::VmStatus status{.name = "web", .pid = 5, .state = control::VmState::running, .vcpu_count = 2};
    status.memory = {.guest_size = 1_GiB, .resident = 300_MiB};
    status.balloon = control::BalloonStatus{
        .target = 3_MiB, .actual = 2_MiB, .driver = true, .statistics = {{"free_memory", 9}}, .statistics_age = 4ms};
    status.counters = {{.name = "balloon_unasked_deflations", .value = 6}};
    EXPECT_EQ(pulse_of(status), (Pulse{.state = control::VmState::running,
                                       .size = 1_GiB,
                                       .target = 3_MiB,
                                       .actual = 2_MiB,
                                       .resident = 300_MiB,
                                       .statistics = {{"free_memory", 9}},
                                       .statistics_age = 4ms,
                                       .unasked_deflations = 6}));
    EXPECT_TRUE(traits_of(status).whole_vm);
    status.vcpu_count = 0;
    status.balloon->driver = false;
    EXPECT_FALSE(traits_of(status).whole_vm);
    EXPECT_THAT(pulse_of(status).statistics, IsEmpty()) << "of a driver that has gone";
}

class Orders : public ::testing::Test {
protected:
    std::vector<std::string> orders(policy::Decision decision, std::chrono::milliseconds now) {
        std::vector<std::string> texts;
        for (const Order& order : orders_of(pulse, decision, can, told, now))
            texts.push_back(order.method + " " + order.path + " " + order.body);
        return texts;
    }
    Pulse pulse{.state = control::VmState::running, .size = 1_GiB, .target = 64_MiB, .actual = 64_MiB};
    Abilities can;
    Told told;
};

TEST_F(Orders, nothing_is_said_when_nothing_changes) {
    EXPECT_THAT(orders({.target = 64_MiB}, 0ms), IsEmpty());
}

TEST_F(Orders, a_target_is_a_permit_that_is_renewed_while_the_balloon_grows) {
    EXPECT_THAT(orders({.target = 100_MiB}, 1000ms),
                ElementsAre(R"(PUT /aerate/permit {"target_bytes":104857600,"for_ms":10000})"));
    pulse.target = 100_MiB;
    EXPECT_THAT(orders({.target = 100_MiB}, 2000ms), IsEmpty());
    EXPECT_THAT(orders({.target = 100_MiB}, 4000ms), ElementsAre(HasSubstr("permit")));
    pulse.actual = 100_MiB;
    EXPECT_THAT(orders({.target = 100_MiB}, 60'000ms), IsEmpty()) << "what it has is nothing to be permitted";
}

TEST_F(Orders, a_monitor_of_an_earlier_release_gets_a_target) {
    can.permits = false;
    EXPECT_THAT(orders({.target = 100_MiB}, 0ms), ElementsAre(R"(PATCH /balloon {"amount_mib":100})"));
    pulse.target = ByteCount{(100ULL << 20) + 5};
    EXPECT_THAT(orders({.target = 100_MiB}, 0ms), IsEmpty()) << "as near as its words are";
}

TEST_F(Orders, a_pause_ends_by_itself_and_is_renewed) {
    const policy::Decision stand{.target = 64_MiB, .pause = true};
    const std::string pause = R"(PATCH /vm {"state":"Paused","for_ms":3000})";
    EXPECT_THAT(orders(stand, 0ms), ElementsAre(pause));
    pulse.state = control::VmState::paused;
    EXPECT_THAT(orders(stand, 200ms), IsEmpty());
    EXPECT_THAT(orders(stand, 1000ms), ElementsAre(pause));
    EXPECT_THAT(orders({.target = 64_MiB}, 1200ms), ElementsAre(R"(PATCH /vm {"state":"Paused","for_ms":1})"));
    EXPECT_THAT(orders({.target = 64_MiB}, 1400ms), IsEmpty());
}

TEST_F(Orders, an_operators_pause_is_left_alone) {
    pulse.state = control::VmState::paused;
    EXPECT_THAT(orders({.target = 64_MiB, .pause = true}, 0ms), IsEmpty());
    EXPECT_THAT(orders({.target = 64_MiB}, 0ms), IsEmpty());
}

TEST_F(Orders, who_cannot_be_paused_for_a_time_is_not_paused) {
    can.pauses = false;
    EXPECT_THAT(orders({.target = 64_MiB, .pause = true}, 0ms), IsEmpty());
    can.pauses = true;
    pulse.state = control::VmState::crashed;
    EXPECT_THAT(orders({.target = 64_MiB, .pause = true}, 0ms), IsEmpty());
}

} // namespace
} // namespace aerate::hostd
