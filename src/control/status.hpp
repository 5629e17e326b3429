// What a running VM says of itself: filled by machine/, printed as JSON and as metrics, read back by the command line.
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"
#include "control/memory_policy.hpp"
#include "control/schema.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace aerate::control {

enum class VmState : std::uint8_t {
    not_started,
    running,
    paused,
    crashed,
    receiving,
    waiting, ///< it runs, and something that it has asked for waits until its host can do it
};
inline constexpr WordList<VmState, 6> state_words{{{"Not started", VmState::not_started},
                                                   {"Running", VmState::running},
                                                   {"Paused", VmState::paused},
                                                   {"Crashed", VmState::crashed},
                                                   {"Receiving", VmState::receiving},
                                                   {"Waiting", VmState::waiting}}};
/// Returns Firecracker's words: "Not started", "Running", "Paused"; or our own "Crashed", "Receiving" and "Waiting".
[[nodiscard]] std::string_view name_of(VmState);

/// Where the guest's serial console goes.
enum class ConsoleKind : std::uint8_t {
    none,
    terminal, ///< that of the monitor's process
    file,
    socket, ///< a terminal is attached to it, and taken off again
};
inline constexpr WordList<ConsoleKind, 4> console_words{{{"None", ConsoleKind::none},
                                                         {"Terminal", ConsoleKind::terminal},
                                                         {"File", ConsoleKind::file},
                                                         {"Socket", ConsoleKind::socket}}};

struct MemoryByState {
    ByteCount guest_size{}; ///< RAM that the guest was given
    ByteCount resident{};   ///< what of it is in the host's memory now: its RSS
    ByteCount shared{};     ///< of that, what belongs to a snapshot file, and to all guests restored from it
    ByteCount ballooned{};  ///< in the balloon
    ByteCount reported{};   ///< free pages reported, and not known to be in use again
    ByteCount hinted{};     ///< free pages of the current or last hinting run
    std::optional<ByteCount> monitor_overhead{}; ///< resident memory of the monitor itself; nothing: it is not known
    static constexpr std::string_view object = "memory";
    static void describe(auto& fields, auto& self) {
        fields("guest_size_bytes", self.guest_size);
        fields("resident_bytes", self.resident);
        fields("shared_bytes", self.shared);
        fields("ballooned_bytes", self.ballooned);
        fields("reported_bytes", self.reported);
        fields("hinted_bytes", self.hinted);
        fields("monitor_overhead_bytes", self.monitor_overhead);
    }
    bool operator==(const MemoryByState&) const = default;
};

struct BalloonStatus {
    ByteCount target{};
    ByteCount actual{};
    bool driver = false;             ///< the guest has one that uses the balloon
    bool reports_when_asked = false; ///< it answers a hint round by reports: see docs/guest-driver.md
    /// The guest's own words, by Firecracker's names ("free_memory", "major_faults", …); never used for policy.
    std::map<std::string, std::uint64_t> statistics{};
    std::optional<std::chrono::milliseconds> statistics_age{}; ///< nothing: there are none
    bool statistics_old = false; ///< several answers are missing: they say how the guest was, not how it is
    /// Since when the guest last took memory back because it ran out; the target was lowered then.
    std::optional<std::chrono::milliseconds> since_taken_back{};
    static constexpr std::string_view object = "balloon";
    /// Describes it in VmStatus; GET /balloon/statistics says it in Firecracker's words.
    static void describe(auto& fields, auto& self) {
        fields("target_bytes", self.target, mandatory);
        fields("actual_bytes", self.actual, mandatory);
        fields("driver", self.driver);
        fields("reports_when_asked", self.reports_when_asked, unless_default);
        fields("statistics", self.statistics);
        fields("statistics_age_ms", self.statistics_age);
        fields("statistics_old", self.statistics_old, unless_default);
        fields("since_taken_back_ms", self.since_taken_back);
    }
    bool operator==(const BalloonStatus&) const = default;
};

struct HintingStatus {
    std::uint32_t host_cmd = 0;
    std::optional<std::uint32_t> guest_cmd{};
    static void describe(auto& fields, auto& self) {
        fields("host_cmd", self.host_cmd);
        fields("guest_cmd", self.guest_cmd);
    }
};

/// What a sweep came to.
struct SweepStatus {
    ByteCount hinted{}; ///< what the guest said is free, whether the host held it or not
    ByteCount small{};  ///< went through the balloon, from free blocks too small for hints
    ByteCount resident_before{};
    ByteCount resident_after{};
    unsigned batches = 0;
    std::chrono::microseconds longest_hold{}; ///< the longest time for which the guest was stopped
    std::chrono::microseconds duration{};
    bool logged = false; ///< the guest does not clear what it hints, so what it wrote meanwhile was logged
    bool cut = false;    ///< the guest did not finish in time: there may be more
    static void describe(auto& fields, auto& self) {
        fields("hinted_bytes", self.hinted);
        fields("logged", self.logged);
        fields("small_bytes", self.small);
        fields("resident_before_bytes", self.resident_before);
        fields("resident_after_bytes", self.resident_after);
        fields("batches", self.batches);
        fields("longest_hold_us", self.longest_hold);
        fields("duration_us", self.duration);
        fields("cut", self.cut);
    }
};

/// What a squeeze came to.
struct SqueezeStatus {
    ByteCount taken{}; ///< by the balloon, at most
    ByteCount resident_before{};
    ByteCount resident_after{};
    std::chrono::microseconds duration{};
    std::string stopped_by{}; ///< empty: the guest had nothing more to give
    static void describe(auto& fields, auto& self) {
        fields("taken_bytes", self.taken);
        fields("resident_before_bytes", self.resident_before);
        fields("resident_after_bytes", self.resident_after);
        fields("duration_us", self.duration);
        fields("stopped_by", self.stopped_by);
    }
};

/// What a snapshot came to.
struct SnapshotStatus {
    std::string parent{};             ///< the file that it is a diff of; empty: none
    ByteCount data{};                 ///< memory that is in the file
    ByteCount omitted{};              ///< memory that is not, on the guest's word
    std::chrono::microseconds hold{}; ///< the time for which the guest was stopped
    std::chrono::microseconds duration{};
    static void describe(auto& fields, auto& self) {
        fields("parent", self.parent, unless_default);
        fields("data_bytes", self.data);
        fields("omitted_bytes", self.omitted);
        fields("hold_us", self.hold);
        fields("duration_us", self.duration);
    }
};

/// A part of a migration's time. They follow each other without a gap.
struct MigrationStep {
    std::string step{}; ///< "preparing" (the sweep, if one was asked for), "connecting", "copying", "stopping", …
    unsigned round = 0; ///< of those that come once a round
    std::chrono::microseconds start{};
    std::chrono::microseconds duration{};
    ByteCount sent{};   ///< on the wire meanwhile
    bool still = false; ///< the guest stood still
    static constexpr std::string_view object = "timeline";
    static void describe(auto& fields, auto& self) {
        fields("step", self.step, mandatory);
        fields("round", self.round, unless_default);
        fields("start_us", self.start, mandatory);
        fields("duration_us", self.duration, mandatory);
        fields("sent_bytes", self.sent);
        fields("guest_stands_still", self.still, unless_default);
    }
    bool operator==(const MigrationStep&) const = default;
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
    std::vector<MigrationStep> timeline{}; ///< once it has ended
    static void describe(auto& fields, auto& self) {
        fields("phase", self.phase);
        fields("error", self.error, unless_default);
        fields("round", self.round);
        fields("sent_bytes", self.sent);
        fields("content_bytes", self.content);
        fields("stored_bytes", self.stored);
        fields("compression", self.compression);
        fields("pages", self.pages);
        fields("delta_pages", self.delta);
        fields("zero_pages", self.zero);
        fields("hinted_pages", self.hinted);
        fields("pending_pages", self.pending);
        fields("dirty_pages_per_second", self.dirty_rate);
        fields("throughput_bytes_per_second", self.throughput);
        fields("throttle_percent", self.throttle);
        fields("expected_downtime_us", self.expected_downtime);
        fields("downtime_us", self.downtime);
        fields("duration_us", self.duration);
        fields("timeline", self.timeline, unless_default);
    }
};

/// Something that only ever counts up. `name` is snake_case, without "aerate_" and "_total".
struct Counter {
    std::string name{};
    std::string help{};
    std::uint64_t value = 0;
    std::vector<std::pair<std::string, std::string>> labels{};
    static constexpr std::string_view object = "counters";
    static void describe(auto& fields, auto& self) {
        fields("name", self.name, mandatory);
        fields("help", self.help);
        fields("value", self.value, mandatory);
        fields("labels", self.labels, unless_default);
    }
    bool operator==(const Counter&) const = default;
};

/// What the monitor's process has given up: see docs/confinement.md.
struct SandboxStatus {
    bool no_new_privileges = false;
    bool capabilities = false; ///< it still has some, or could get some
    bool memory_hidden = false;
    bool seccomp = false;
    unsigned landlock = 0; ///< its version; 0: files are opened as the user may
    std::string lacks{};   ///< what should hold and does not, in words
    static constexpr std::string_view object = "sandbox";
    static void describe(auto& fields, auto& self) {
        fields("no_new_privileges", self.no_new_privileges);
        fields("capabilities", self.capabilities);
        fields("memory_hidden", self.memory_hidden);
        fields("seccomp", self.seccomp);
        fields("landlock", self.landlock);
        fields("lacks", self.lacks, unless_default);
    }
    bool operator==(const SandboxStatus&) const = default;
};
/// Returns "yes", "partly" or "no". Before its guest runs a monitor is confined partly.
[[nodiscard]] std::string_view is_confined(const std::optional<SandboxStatus>&);

struct VmStatus {
    std::string name{};
    int pid = 0;
    VmState state = VmState::not_started;
    std::string reason{}; ///< why it has crashed, or what it waits for
    std::chrono::milliseconds uptime{};
    unsigned vcpu_count = 0; ///< 0 of a guest of which only the balloon is served here
    ConsoleKind console = ConsoleKind::none;
    std::optional<SandboxStatus> sandbox{}; ///< nothing: it is off
    MemoryByState memory{};
    std::optional<BalloonStatus> balloon{};
    std::optional<MemoryPolicy> memory_policy{}; ///< with its floor; nothing: the size of the guest is not known
    std::vector<Counter> counters{};
    static void describe(auto& fields, auto& self) {
        fields("name", self.name, mandatory);
        fields("pid", self.pid);
        fields("state", Word{self.state, state_words}, mandatory);
        fields("reason", self.reason, unless_default);
        fields("uptime_ms", self.uptime);
        fields("vcpu_count", self.vcpu_count);
        fields("console", Word{self.console, console_words}, unless_default);
        fields("sandbox", self.sandbox);
        fields("memory", self.memory, mandatory);
        fields("balloon", self.balloon);
        fields("memory_policy", self.memory_policy);
        fields("counters", self.counters);
    }
    bool operator==(const VmStatus&) const = default;
};

[[nodiscard]] std::string print_status(const VmStatus&);
/// Reads what print_status() printed, by this version or a later one.
[[nodiscard]] Result<VmStatus> parse_status(std::string_view json);

} // namespace aerate::control
