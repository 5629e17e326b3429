// What a running VM says of itself: filled by machine/, printed as JSON and as metrics, read back by the command line.
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace aerate::control {

enum class VmState : std::uint8_t { not_started, running, paused, crashed };
/// Firecracker's words: "Not started", "Running", "Paused"; and our own "Crashed".
[[nodiscard]] std::string_view name_of(VmState);

struct MemoryByState {
    ByteCount guest_size{};       ///< RAM that the guest was given
    ByteCount resident{};         ///< what the host spends on it now
    ByteCount ballooned{};        ///< in the balloon
    ByteCount reported{};         ///< free pages reported, and not known to be in use again
    ByteCount hinted{};           ///< free pages of the current or last hinting run
    ByteCount monitor_overhead{}; ///< resident memory of the monitor itself
    bool operator==(const MemoryByState&) const = default;
};

struct BalloonStatus {
    ByteCount target{};
    ByteCount actual{};
    /// The guest's own words, by Firecracker's names ("free_memory", "major_faults", …); never used for policy.
    std::map<std::string, std::uint64_t> statistics{};
    bool operator==(const BalloonStatus&) const = default;
};

struct HintingStatus {
    std::uint32_t host_cmd = 0;
    std::optional<std::uint32_t> guest_cmd{};
};

/// What a sweep came to.
struct SweepStatus {
    ByteCount hinted{};    ///< what the guest said is free
    ByteCount discarded{}; ///< what was given back of it
    ByteCount small{};     ///< given back through the balloon, from free blocks too small for hints
    unsigned batches = 0;
    std::chrono::microseconds longest_hold{}; ///< the longest time for which the guest stood still
    std::chrono::microseconds duration{};
    bool cut = false; ///< the guest did not come to the end in time: there may be more
};

/// What a squeeze came to.
struct SqueezeStatus {
    ByteCount taken{}; ///< by the balloon, at the most
    ByteCount resident_before{};
    ByteCount resident_after{};
    std::chrono::microseconds duration{};
    std::string stopped_by{}; ///< empty: the guest had nothing more to give
};

/// What a snapshot came to.
struct SnapshotStatus {
    std::string parent{};             ///< the file that it is a diff of; empty: none
    ByteCount data{};                 ///< memory that is in the file
    ByteCount omitted{};              ///< memory that is not, on the guest's word
    std::chrono::microseconds hold{}; ///< the time for which the guest stood still
    std::chrono::microseconds duration{};
};

/// How far a migration is, or what the last one came to.
struct MigrationStatus {
    std::string phase{}; ///< "hinting", "copying", …; "moved", "stayed", "unknown" when it has ended; "none"
    std::string error{}; ///< why the guest stayed
    unsigned round = 0;
    ByteCount sent{};                ///< on the wire
    ByteCount content{};             ///< of the pages that were sent as they are, before compression
    ByteCount stored{};              ///< and after
    std::string compression{"none"}; ///< what is in use
    PageCount pages{};               ///< sent with content; each time counts
    PageCount delta{};               ///< of them as what differs from what was sent before
    PageCount zero{};                ///< sent as zero, absent ones included
    PageCount hinted{};              ///< not sent, on the guest's word
    PageCount pending{};
    PageCount dirty_rate{}; ///< a second
    ByteCount throughput{}; ///< a second
    unsigned throttle = 0;  ///< percent
    std::chrono::microseconds expected_downtime{};
    std::chrono::microseconds downtime{};
    std::chrono::microseconds duration{};
};

/// Something that only ever counts up. `name` is snake_case, without "aerate_" and "_total".
struct Counter {
    std::string name{};
    std::string help{};
    std::uint64_t value = 0;
    std::vector<std::pair<std::string, std::string>> labels{};
    bool operator==(const Counter&) const = default;
};

struct VmStatus {
    std::string name{};
    int pid = 0;
    VmState state = VmState::not_started;
    std::chrono::milliseconds uptime{};
    unsigned vcpu_count = 0; ///< 0 of a guest of which only the balloon is served here
    MemoryByState memory{};
    std::optional<BalloonStatus> balloon{};
    std::vector<Counter> counters{};
    bool operator==(const VmStatus&) const = default;
};

[[nodiscard]] std::string print_status(const VmStatus&);
/// Reads what print_status() printed, by this version or a later one.
[[nodiscard]] Result<VmStatus> parse_status(std::string_view json);

} // namespace aerate::control
