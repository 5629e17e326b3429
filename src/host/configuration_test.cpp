#include "host/configuration.hpp"
#include "host/decision_log.hpp"
#include "host/event_reader.hpp"
#include "host/history_log.hpp"
#include "host/host_memory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace aerate::hostd {
namespace {

using namespace std::chrono_literals;
using namespace aerate::literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string refused(std::string_view json) {
    const auto read = read_configuration(json, 16_GiB);
    return read ? "" : read.error().message;
}

TEST(Configuration, says_what_counts_for_whom) {
    const auto read = read_configuration(
        R"({"reserve_mib":2048,"dry_run":true,"cgroup_parent":"/sys/fs/cgroup/vms","defaults":{"memory_shares":500},
            "vms":[{"name":"db","memory_floor_mib":4096,"memory_priority":9}]})",
        16_GiB);
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->reserve, 2_GiB);
    EXPECT_TRUE(read->dry_run);
    EXPECT_EQ(read->defaults, (PolicyChange{.shares = 500}));
    EXPECT_EQ(read->of("db"), (PolicyChange{.floor = 4_GiB, .priority = 9}));
    EXPECT_EQ(read->of("web"), PolicyChange{});
    EXPECT_EQ(read_configuration(R"({"reserve_bytes":5})", 16_GiB)->reserve, ByteCount{5});
    EXPECT_TRUE(read_configuration("{}", 16_GiB));
}

TEST(Configuration, what_cannot_be_meant_is_refused_with_where_and_why) {
    EXPECT_THAT(refused(R"({"reserve_gib":1})"), HasSubstr("reserve_gib: unknown field"));
    EXPECT_THAT(refused(R"({"vms":[{"name":"a","shares":1}]})"), HasSubstr("shares: unknown field"));
    EXPECT_THAT(refused(R"({"reserve_mib":16384})"), HasSubstr("reserve_mib: is 16384 MiB, and the host has 16384"));
    EXPECT_THAT(refused(R"({"reserve_mib":1,"reserve_bytes":1})"), HasSubstr("leave one of them out"));
    EXPECT_THAT(refused(R"({"defaults":{"memory_floor_mib":20000}})"),
                HasSubstr("defaults.memory_floor_mib: is 20000"));
    EXPECT_THAT(refused(R"({"vms":[{"name":"a"},{"name":"b","memory_floor_mib":20000}]})"),
                HasSubstr("vms[1].memory_floor_mib"));
    EXPECT_THAT(refused(R"({"vms":[{"name":"a"},{"name":"a"}]})"), HasSubstr("vms[1].name: a has an entry already"));
    EXPECT_THAT(refused(R"({"vms":[{"name":"../x"}]})"), HasSubstr("vms[0].name: must be"));
    EXPECT_THAT(refused(R"({"vms":[{"name":"a","memory_shares":0}]})"), HasSubstr("memory_shares"));
    EXPECT_THAT(refused(R"({"cgroup_parent":"/tmp"})"), HasSubstr("cgroup_parent: must be"));
    EXPECT_THAT(refused(std::string(configuration_length_max + 1, ' ')), HasSubstr("more than"));
}

TEST(HostMemory, is_read_as_the_kernel_says_it) {
    const auto memory = read_memory_info("MemTotal:       16777216 kB\nMemFree: 5 kB\nMemAvailable:    8388608 kB\n"
                                         "SwapTotal: 4 kB\nSwapFree: 3 kB\nHugetlb: 2048 kB\n");
    ASSERT_TRUE(memory) << memory.error().message;
    EXPECT_EQ(*memory, (MemoryInfo{16_GiB, 8_GiB, 4_KiB, 3_KiB, 2_MiB}));
    EXPECT_FALSE(read_memory_info("MemTotal: 5 kB\n")) << "before Linux 3.14";
    EXPECT_FALSE(read_memory_info("MemTotal: x kB\nMemAvailable: 1 kB"));
    EXPECT_FALSE(read_memory_info("MemTotal: 18446744073709551615 kB\nMemAvailable: 1 kB"));
    EXPECT_TRUE(HostMemory::open()->read());
}

TEST(Pressure, is_what_total_says) {
    const auto pressure = read_pressure("some avg10=0.00 avg60=0.00 avg300=0.00 total=12\n"
                                        "full avg10=0.00 avg60=0.00 avg300=0.00 total=3\n");
    ASSERT_TRUE(pressure);
    EXPECT_EQ(*pressure, (Pressure{12us, 3us}));
    EXPECT_FALSE(read_pressure("some avg10=0.00 total=12\n"));
    EXPECT_FALSE(read_pressure("some total=\nfull total=1\n"));
    EXPECT_FALSE(read_pressure("some total=99999999999999999999\nfull total=1\n"));
}

TEST(EventReader, takes_events_in_pieces_of_any_size) {
    constexpr std::string_view stream =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        "event: state\ndata: {\"event: x\": 1}\n\nevent:stalls\r\ndata: {}\r\n\r\n: nothing\n\n";
    for (std::size_t piece = 1; piece < 20; ++piece) {
        EventReader reader;
        std::vector<std::string> names;
        for (std::size_t at = 0; at < stream.size(); at += piece)
            reader.feed(stream.substr(at, piece), [&](std::string_view name) { names.emplace_back(name); });
        EXPECT_THAT(names, ElementsAre("state", "stalls"));
    }
}

TEST(EventReader, keeps_no_more_than_a_name) {
    EventReader reader;
    int heard = 0;
    const auto count = [&](std::string_view name) {
        EXPECT_LE(name.size(), EventReader::longest_name);
        ++heard;
    };
    reader.feed("event: " + std::string(1 << 20, 'x') + "\n\n", count);
    EXPECT_EQ(heard, 0);
    reader.feed("event: state\n\n", count);
    EXPECT_EQ(heard, 1);
}

TEST(DecisionLog, counts_what_is_the_same_and_keeps_a_hundred) {
    DecisionLog log;
    for (int i = 0; i < 5; ++i)
        log.add({.now = std::chrono::seconds(i), .target = 1_MiB});
    ASSERT_EQ(log.decisions().decisions.size(), 1U);
    EXPECT_EQ(log.decisions().decisions.front().times, 5U);
    EXPECT_EQ(log.decisions().decisions.front().last, 4s);
    for (std::uint64_t i = 0; i < 200; ++i)
        log.add({.target = {i << 20}});
    EXPECT_EQ(log.decisions().decisions.size(), DecisionLog::longest);
    EXPECT_EQ(log.decisions().decisions.back().target, 199_MiB);
}

TEST(HistoryLog, has_the_last_points_of_those_who_were_there) {
    HistoryLog log;
    control::HostStatus status;
    const auto tick = [&](int seconds, std::vector<std::string> names) {
        status.now = std::chrono::seconds(seconds);
        status.vms.clear();
        for (const std::string& name : names)
            status.vms.push_back({.name = name, .resident = {static_cast<std::uint64_t>(seconds) << 20}});
        log.add(status);
    };
    tick(0, {"a"});
    tick(1, {"a"}); // too early
    tick(5, {"a", "b"});
    tick(10, {"b"});
    History history = log.history();
    EXPECT_EQ(history.level.size(), 3U);
    ASSERT_EQ(history.vms.size(), 2U);
    EXPECT_EQ(history.vms[0].end, 2U);
    EXPECT_THAT(history.vms[0].resident_mib, ElementsAre(0, 5));
    EXPECT_EQ(history.vms[1].end, 3U);
    for (int i = 3; i < 400; ++i)
        tick(5 * i, {"b"});
    history = log.history();
    EXPECT_EQ(history.level.size(), HistoryLog::points);
    ASSERT_EQ(history.vms.size(), 1U) << "a is forgotten";
    EXPECT_EQ(history.vms[0].end, HistoryLog::points);
    EXPECT_EQ(history.vms[0].resident_mib.size(), HistoryLog::points);
}

} // namespace
} // namespace aerate::hostd
