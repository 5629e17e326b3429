#include "base/testing/temporary_directory.hpp"
#include "control/host_metrics.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>

namespace aerate::control {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

HostStatus two_vms() {
    HostStatus status;
    status.host.total = ByteCount{16ULL << 30};
    status.host.available = ByteCount{6ULL << 30};
    status.host.resident = ByteCount{8ULL << 30};
    status.host.level = policy::Level::shortage;
    status.host.some_total = std::chrono::microseconds(12'000'345);
    HostVm web;
    web.name = "web1";
    web.size = ByteCount{std::numeric_limits<std::uint64_t>::max()};
    web.reason = {"idle_taken", "took 64 MiB"};
    web.stalled = std::chrono::microseconds(7);
    status.vms = {web, HostVm{.name = "a\"b\\c\nd", .reason = {"no_word", ""}}};
    return status;
}

TEST(HostMetrics, HaveTheHostsNumbersExactly) {
    const std::string text = print_host_metrics(two_vms());
    EXPECT_THAT(text, HasSubstr("# TYPE aerate_host_level gauge\naerate_host_level 2\n"));
    EXPECT_THAT(text, HasSubstr("aerate_host_memory_bytes{state=\"other\"} 2147483648\n"));
    EXPECT_THAT(text, HasSubstr("aerate_host_pressure_seconds_total{kind=\"some\"} 12.000345\n"));
    EXPECT_THAT(text, HasSubstr("aerate_vm_size_bytes{vm=\"web1\"} 18446744073709551615\n"));
    EXPECT_THAT(text, HasSubstr("aerate_vm_host_stall_seconds_total{vm=\"web1\"} 0.000007\n"));
    EXPECT_THAT(text, HasSubstr("aerate_vm_reason{vm=\"web1\",reason=\"idle_taken\"} 1\n"));
}

TEST(HostMetrics, EscapeNames) {
    const std::string text = print_host_metrics(two_vms());
    EXPECT_THAT(text, HasSubstr("aerate_vm_shares{vm=\"a\\\"b\\\\c\\nd\"} 1000\n"));
    EXPECT_THAT(text, Not(HasSubstr("\nd\"")));
}

TEST(HostMetrics, SayNothingOfWhatNobodyKnows) {
    EXPECT_THAT(print_host_metrics(two_vms()), Not(HasSubstr("aerate_vm_statistics_age_seconds{")));
}

TEST(HostMetrics, HaveFewerThanFortySeriesAVm) {
    std::istringstream lines(print_host_metrics(two_vms()));
    int series = 0;
    for (std::string line; std::getline(lines, line);)
        series += line.contains("vm=\"web1\"") ? 1 : 0;
    EXPECT_GT(series, 15);
    EXPECT_LE(series, 40);
}

TEST(HostMetrics, HostWhoseNumbersDoNotAddUpHasNoOtherMemory) {
    HostStatus status = two_vms();
    status.host.resident = status.host.total;
    EXPECT_THAT(print_host_metrics(status), HasSubstr("{state=\"other\"} 0\n"));
}

TEST(HostMetrics, PromtoolHasNoComplaint) {
    if (std::system("promtool --version > /dev/null 2>&1") != 0)
        GTEST_SKIP() << "promtool is not installed: Debian has it in prometheus";
    const TemporaryDirectory directory;
    const std::string file = directory.path() / "metrics";
    std::ofstream(file) << print_host_metrics(two_vms());
    EXPECT_EQ(std::system(("promtool check metrics < " + file).c_str()), 0);
}

} // namespace
} // namespace aerate::control
