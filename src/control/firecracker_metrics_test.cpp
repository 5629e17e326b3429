#include "control/firecracker_metrics.hpp"
#include "control/json.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace aerate::control {
namespace {

VmStatus status(std::uint64_t root_reads, std::uint64_t data_reads, std::uint64_t reported) {
    return {.counters = {{"block_reads", "", root_reads, {{"device", "block:rootfs"}}},
                         {"block_reads", "", data_reads, {{"device", "block:data"}}},
                         {"balloon_reported_pages", "", reported, {}},
                         {"something_else", "", 7, {}}}};
}

Json line_of(FirecrackerMetrics& metrics, const VmStatus& now, std::chrono::milliseconds time = {}) {
    const std::string text = metrics.line(now, time);
    EXPECT_EQ(text.find('\n'), text.size() - 1) << "one line, with its end";
    metrics.delivered();
    return *parse_json(text);
}

TEST(FirecrackerMetrics, CountersSayByHowMuchTheyHaveGrown) {
    FirecrackerMetrics metrics;
    metrics.set_start_up({.wall = std::chrono::microseconds(5), .cpu = std::chrono::microseconds(3)});
    const Json first = line_of(metrics, status(3, 4, 2), std::chrono::milliseconds(1700));
    EXPECT_EQ(first["utc_timestamp_ms"], 1700);
    EXPECT_EQ(first["api_server"]["process_startup_time_us"], 5);
    EXPECT_EQ(first["block"]["read_count"], 7);
    EXPECT_EQ(first["block_rootfs"]["read_count"], 3);
    EXPECT_EQ(first["block_data"]["read_count"], 4);
    EXPECT_EQ(first["balloon"]["free_page_report_freed"], 2 * 4096) << "bytes, as Firecracker's";
    EXPECT_FALSE(first.contains("something_else"));
    const Json second = line_of(metrics, status(5, 4, 2));
    EXPECT_EQ(second["block_rootfs"]["read_count"], 2);
    EXPECT_EQ(second["block_data"]["read_count"], 0);
}

TEST(FirecrackerMetrics, AGuestThatHasResetItselfCountsFromNothing) {
    FirecrackerMetrics metrics;
    line_of(metrics, status(10, 0, 0));
    EXPECT_EQ(line_of(metrics, status(2, 0, 0))["block"]["read_count"], 2);
}

TEST(FirecrackerMetrics, WhatWasNotDeliveredIsInTheNextLineAlsoOverAReset) {
    FirecrackerMetrics metrics;
    line_of(metrics, status(10, 0, 0));
    (void)metrics.line(status(13, 0, 0), {});
    (void)metrics.line(status(2, 0, 0), {});
    EXPECT_EQ(line_of(metrics, status(3, 0, 0))["block"]["read_count"], 3 + 3);
    EXPECT_EQ(line_of(metrics, status(3, 0, 0))["block"]["read_count"], 0);
}

} // namespace
} // namespace aerate::control
