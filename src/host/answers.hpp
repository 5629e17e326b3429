// What is asked of "aerate host" and what it answers, beside its status (control/host_status.hpp).
#pragma once

#include "base/units.hpp"
#include "control/host_status.hpp"
#include "control/memory_policy.hpp"
#include "control/schema.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace aerate::hostd {

/// The last ten minutes, in columns: the newest value is the last of each, and those of a VM that came later, or went,
/// are shorter and end at `end`.
struct History {
    struct Vm {
        std::string name{};
        std::uint64_t end = 0; ///< the point after its last one
        std::vector<std::uint64_t> resident_mib{};
        std::vector<std::uint64_t> need_mib{};
        std::vector<std::uint64_t> balloon_mib{};
        static void describe(auto& fields, auto& self) {
            fields("name", self.name, control::mandatory);
            fields("end", self.end, control::mandatory);
            fields("resident_mib", self.resident_mib);
            fields("need_mib", self.need_mib);
            fields("balloon_mib", self.balloon_mib);
        }
        bool operator==(const Vm&) const = default;
    };
    std::chrono::milliseconds now{};      ///< since 1970, of the newest point
    std::chrono::milliseconds interval{}; ///< between two points
    std::vector<std::uint64_t> available_mib{};
    std::vector<std::uint64_t> resident_mib{}; ///< of all VMs
    std::vector<std::uint64_t> some_permille{};
    std::vector<std::uint64_t> level{}; ///< policy::Level: 0 plenty, 1 tight, 2 shortage, 3 critical
    std::vector<Vm> vms{};
    static void describe(auto& fields, auto& self) {
        fields("now_ms", self.now);
        fields("interval_ms", self.interval);
        fields("available_mib", self.available_mib);
        fields("resident_mib", self.resident_mib);
        fields("some_permille", self.some_permille);
        fields("level", self.level);
        fields("vms", self.vms);
    }
    bool operator==(const History&) const = default;
};

/// One decision about a VM, with what it was made from. Decisions that change nothing for the same reason as the one
/// before are counted, not kept.
struct Decision {
    std::chrono::milliseconds now{};  ///< since 1970, of the first
    std::chrono::milliseconds last{}; ///< and of the last that was the same
    std::uint64_t times = 1;
    policy::Level level{};
    ByteCount host_available{};
    ByteCount resident{};
    ByteCount actual{};
    ByteCount target_before{};
    std::optional<ByteCount> guest_free{}; ///< nothing: the guest said nothing
    std::optional<ByteCount> guest_available{};
    std::optional<std::chrono::milliseconds> statistics_age{};
    ByteCount target{};
    ByteCount taken{};
    ByteCount given{};
    bool paused = false;
    control::HostReason reason{};
    static void describe(auto& fields, auto& self) {
        fields("now_ms", self.now, control::mandatory);
        fields("last_ms", self.last);
        fields("times", self.times);
        fields("level", control::Word{self.level, policy::level_words}, control::mandatory);
        fields("host_available_bytes", self.host_available);
        fields("resident_bytes", self.resident);
        fields("actual_bytes", self.actual);
        fields("target_before_bytes", self.target_before);
        fields("guest_free_bytes", self.guest_free);
        fields("guest_available_bytes", self.guest_available);
        fields("statistics_age_ms", self.statistics_age);
        fields("target_bytes", self.target);
        fields("taken_bytes", self.taken);
        fields("given_bytes", self.given);
        fields("paused", self.paused);
        fields("reason", self.reason, control::mandatory);
    }
    bool operator==(const Decision&) const = default;
};

struct Decisions {
    std::vector<Decision> decisions{}; ///< oldest first, at most a hundred
    static void describe(auto& fields, auto& self) { fields("decisions", self.decisions, control::mandatory); }
    bool operator==(const Decisions&) const = default;
};

/// Changes what a VM's operator asks of the policy, until the daemon ends: what is to stay belongs into the
/// configuration. A field that is absent is left as it is.
struct PolicyChange {
    std::optional<ByteCount> floor{};
    std::optional<std::uint64_t> shares{};
    std::optional<std::uint64_t> priority{};

    /// Returns what counts of two: this, where it says something.
    [[nodiscard]] PolicyChange over(const PolicyChange& other) const {
        return {floor ? floor : other.floor, shares ? shares : other.shares, priority ? priority : other.priority};
    }
    static void describe(auto& fields, auto& self) {
        fields("memory_floor_mib", control::Mib{self.floor});
        fields("memory_shares", self.shares, control::between(1, control::memory_shares_max));
        fields("memory_priority", self.priority, control::between(0, control::memory_priority_max));
    }
    bool operator==(const PolicyChange&) const = default;
};

/// Asks whether one more VM fits.
struct AdmissionQuestion {
    ByteCount size{};
    ByteCount floor{};
    std::optional<ByteCount> need{}; ///< nothing: half of its size is assumed
    static constexpr std::string_view object = "admission";
    static void describe(auto& fields, auto& self) {
        fields("size_bytes", self.size, control::mandatory_between(1, 1ULL << 46));
        fields("floor_bytes", self.floor, control::between(0, 1ULL << 46));
        fields("need_bytes", self.need, control::between(0, 1ULL << 46));
    }
    bool operator==(const AdmissionQuestion&) const = default;
};
struct AdmissionAnswer {
    bool fits = false;
    std::string words{}; ///< for people, with the numbers and what would fit
    ByteCount missing{};
    ByteCount floors{}; ///< of all VMs and this one
    ByteCount need{};
    ByteCount above{};    ///< available above the reserve
    ByteCount freeable{}; ///< what the VMs could give beside
    static void describe(auto& fields, auto& self) {
        fields("fits", self.fits, control::mandatory);
        fields("words", self.words, control::mandatory);
        fields("missing_bytes", self.missing);
        fields("floors_bytes", self.floors);
        fields("need_bytes", self.need);
        fields("above_bytes", self.above);
        fields("freeable_bytes", self.freeable);
    }
    bool operator==(const AdmissionAnswer&) const = default;
};

} // namespace aerate::hostd
