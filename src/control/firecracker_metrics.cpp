#include "control/firecracker_metrics.hpp"

#include "base/log.hpp"
#include "control/json.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace aerate::control {
namespace {

/// A counter of ours and what Firecracker calls it. Those of one kind of device are given for each of them,
/// "block_rootfs", and for all together, "block".
struct Name {
    std::string_view ours;
    std::string_view group;
    std::string_view theirs;
    std::uint64_t unit = 1;
};

constexpr auto metric_names = std::to_array<Name>({
    {"block_reads", "block", "read_count"},
    {"block_writes", "block", "write_count"},
    {"block_read_bytes", "block", "read_bytes"},
    {"block_written_bytes", "block", "write_bytes"},
    {"block_flushes", "block", "flush_count"},
    {"block_failed", "block", "execute_fails"},
    {"guest_block_refused", "block", "invalid_reqs_count"},
    {"balloon_reported_pages", "balloon", "free_page_report_freed", page_size.value},
    {"balloon_hinted_pages", "balloon", "free_page_hint_freed", page_size.value},
    {"balloon_discard_errors", "balloon", "free_page_report_fails"},
    {"entropy_bytes", "entropy", "entropy_bytes"},
    {"net_rx_bytes_count", "net", "rx_bytes_count"},
    {"net_rx_packets_count", "net", "rx_packets_count"},
    {"net_rx_fails", "net", "rx_fails"},
    {"net_no_rx_avail_buffer", "net", "no_rx_avail_buffer"},
    {"net_tx_bytes_count", "net", "tx_bytes_count"},
    {"net_tx_packets_count", "net", "tx_packets_count"},
    {"net_tx_fails", "net", "tx_fails"},
    {"net_tx_spoofed_mac_count", "net", "tx_spoofed_mac_count"},
    {"serial_limited_bytes", "uart", "rate_limiter_dropped_bytes"},
    {"mmds_rx_frames", "mmds", "rx_accepted"},
    {"mmds_rx_refused_frames", "mmds", "rx_accepted_err"},
    {"mmds_tx_frames", "mmds", "tx_frames"},
    {"mmds_tx_bytes", "mmds", "tx_bytes"},
    {"mmds_connections_begun", "mmds", "connections_created"},
    {"mmds_connections_ended", "mmds", "connections_destroyed"},
    {"mmds_requests_without_token", "mmds", "rx_no_token"},
    {"mmds_requests_with_bad_token", "mmds", "rx_invalid_token"},
});

/// The part of a device's name that its user chose: "rootfs" of "block:rootfs". Empty: there is none.
std::string_view id_of(const Counter& counter) {
    const auto label = std::ranges::find(counter.labels, "device", &std::pair<std::string, std::string>::first);
    if (label == counter.labels.end())
        return {};
    const std::string_view name = label->second;
    const auto colon = name.find(':');
    return colon == name.npos ? std::string_view() : name.substr(colon + 1);
}

void add(Json& group, std::string_view name, std::uint64_t value) {
    Json& sum = group[std::string(name)];
    sum = (sum.is_null() ? 0 : sum.get<std::uint64_t>()) + value;
}

} // namespace

std::uint64_t FirecrackerMetrics::growth(const std::string& key, std::uint64_t value) {
    Count& count = counts_[key];
    const std::uint64_t before = std::exchange(count.last, value);
    count.owed += value < before ? value : value - before; // a guest that has reset itself counts from nothing
    return count.owed;
}

void FirecrackerMetrics::delivered() {
    for (auto& [key, count] : counts_)
        count.owed = 0;
}

std::string FirecrackerMetrics::line(const VmStatus& status, std::chrono::milliseconds now) {
    Json json{{"utc_timestamp_ms", now.count()}};
    json["api_server"] = {{"process_startup_time_us", start_up_.wall.count()},
                          {"process_startup_time_cpu_us", start_up_.cpu.count()}};
    json["logger"] = {{"missed_log_count", growth("missed_log_count", log::lost())}};
    for (const Counter& counter : status.counters) {
        const auto* const name = std::ranges::find(metric_names, counter.name, &Name::ours);
        if (name == metric_names.end())
            continue;
        const std::string_view id = id_of(counter);
        const std::string group(name->group);
        const std::uint64_t grown = growth(fmt::format("{} {}", counter.name, id), counter.value) * name->unit;
        add(json[group], name->theirs, grown);
        if (!id.empty())
            add(json[group + "_" + std::string(id)], name->theirs, grown);
    }
    return print_json(json) + "\n";
}

} // namespace aerate::control
