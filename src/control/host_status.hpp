// What "aerate host" says of its host and of each VM there: made by host/, printed as JSON for the command line and the
// page, and as metrics. Sizes are bytes; times are milliseconds.
#pragma once

#include "base/units.hpp"
#include "control/schema.hpp"
#include "control/status.hpp"
#include "policy/level.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace aerate::control {

struct HostMemory {
    ByteCount total{};
    ByteCount available{}; ///< MemAvailable
    ByteCount reserve{};   ///< kept for the host itself
    ByteCount swap_total{};
    ByteCount swap_free{};
    ByteCount resident{}; ///< of all VMs
    ByteCount monitors{}; ///< of their monitors, beside that
    ByteCount promised{}; ///< the sizes of all VMs
    ByteCount floors{};
    ByteCount needs{};
    ByteCount reserved{}; ///< for VMs that were admitted and are not here so far
    policy::Level level = policy::Level::plenty;
    std::uint64_t some{}; ///< in thousandths of the time since the last look: some tasks waited for memory
    std::uint64_t full{}; ///< all of them did
    std::chrono::microseconds some_total{}; ///< since the host started
    std::chrono::microseconds full_total{};
    static constexpr std::string_view object = "host";
    static void describe(auto& fields, auto& self) {
        fields("total_bytes", self.total, mandatory);
        fields("available_bytes", self.available, mandatory);
        fields("reserve_bytes", self.reserve, mandatory);
        fields("swap_total_bytes", self.swap_total);
        fields("swap_free_bytes", self.swap_free);
        fields("resident_bytes", self.resident);
        fields("monitors_bytes", self.monitors);
        fields("promised_bytes", self.promised);
        fields("floors_bytes", self.floors);
        fields("needs_bytes", self.needs);
        fields("reserved_bytes", self.reserved);
        fields("level", Word{self.level, policy::level_words}, mandatory);
        fields("some_permille", self.some);
        fields("full_permille", self.full);
        fields("some_total_us", self.some_total);
        fields("full_total_us", self.full_total);
    }
    bool operator==(const HostMemory&) const = default;
};

/// Why the policy did with a VM what it did.
struct HostReason {
    std::string name{};  ///< see policy/reason.hpp
    std::string words{}; ///< for people, with the numbers of this case
    static constexpr std::string_view object = "reason";
    static void describe(auto& fields, auto& self) {
        fields("name", self.name, mandatory);
        fields("words", self.words, mandatory);
    }
    bool operator==(const HostReason&) const = default;
};

/// A VM, as the policy sees it. need + guard, hot, cold and idle are of what the guest has; they, the balloon, and what
/// was never given or was given back make up its size.
struct HostVm {
    std::string name{};
    int pid = 0;
    VmState state = VmState::not_started;
    bool answers = true; ///< false: its monitor does not, and what follows is what it last said
    ByteCount size{};
    ByteCount floor{};
    std::uint64_t shares = 1000;
    std::uint64_t priority = 5;
    ByteCount resident{}; ///< by the host's measurement
    ByteCount need{};     ///< what the guest cannot give, by its own word
    ByteCount guard{};    ///< left to it above that
    ByteCount hot{};      ///< cache that it was seen to miss
    ByteCount cold{};     ///< cache that nobody has missed
    ByteCount idle{};     ///< free, and resident
    ByteCount hidden{};   ///< free, and not resident: never touched, or given back
    ByteCount balloon{};
    ByteCount target{};
    std::optional<std::chrono::milliseconds> statistics_age{}; ///< nothing: the guest says nothing
    HostReason reason{};
    std::optional<std::chrono::milliseconds> held{};    ///< for how long nothing is taken from it
    std::optional<std::chrono::milliseconds> paused{};  ///< for how long the policy has had it stand still
    std::optional<std::chrono::microseconds> stalled{}; ///< for how long it waited for the host's memory; of its cgroup
    ByteCount taken{};                                  ///< so far, by the policy
    ByteCount given{};
    std::string cgroup{}; ///< empty: it has none of its own
    static constexpr std::string_view object = "vm";
    static void describe(auto& fields, auto& self) {
        fields("name", self.name, mandatory);
        fields("pid", self.pid);
        fields("state", Word{self.state, state_words}, mandatory);
        fields("answers", self.answers);
        fields("size_bytes", self.size, mandatory);
        fields("floor_bytes", self.floor);
        fields("shares", self.shares);
        fields("priority", self.priority);
        fields("resident_bytes", self.resident);
        fields("need_bytes", self.need);
        fields("guard_bytes", self.guard);
        fields("hot_bytes", self.hot);
        fields("cold_bytes", self.cold);
        fields("idle_bytes", self.idle);
        fields("hidden_bytes", self.hidden);
        fields("balloon_bytes", self.balloon);
        fields("target_bytes", self.target);
        fields("statistics_age_ms", self.statistics_age);
        fields("reason", self.reason, mandatory);
        fields("held_ms", self.held);
        fields("paused_ms", self.paused);
        fields("stalled_us", self.stalled);
        fields("taken_bytes", self.taken);
        fields("given_bytes", self.given);
        fields("cgroup", self.cgroup, unless_default);
    }
    bool operator==(const HostVm&) const = default;
};

struct HostStatus {
    std::chrono::milliseconds now{}; ///< since 1970, by the host's clock
    bool dry_run = false;            ///< it decides, and does nothing
    HostMemory host{};
    std::vector<HostVm> vms{}; ///< sorted by name
    static void describe(auto& fields, auto& self) {
        fields("now_ms", self.now, mandatory);
        fields("dry_run", self.dry_run);
        fields("host", self.host, mandatory);
        fields("vms", self.vms, mandatory);
    }
    bool operator==(const HostStatus&) const = default;
};

} // namespace aerate::control
