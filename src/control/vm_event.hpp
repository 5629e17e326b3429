// The events of a VM, as text/event-stream has them: "event: NAME", "data: {json}".
#pragma once

#include "base/units.hpp"
#include "control/schema.hpp"
#include "control/status.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace aerate::control {

/// The first that a caller hears, and each time the state changes.
struct StateEvent {
    VmState state = VmState::not_started;
    std::string reason{};
    static constexpr std::string_view name = "state";
    static void describe(auto& fields, auto& self) {
        fields("state", Word{self.state, state_words}, mandatory);
        fields("reason", self.reason, unless_default);
    }
    bool operator==(const StateEvent&) const = default;
};

/// The balloon has as many pages as it was asked for.
struct TargetReachedEvent {
    ByteCount target{};
    ByteCount actual{};
    static constexpr std::string_view name = "target_reached";
    static void describe(auto& fields, auto& self) {
        fields("target_bytes", self.target);
        fields("actual_bytes", self.actual);
    }
};

/// The guest's driver took pages back unasked.
struct TakenBackEvent {
    ByteCount taken{};
    ByteCount target{};
    static constexpr std::string_view name = "taken_back";
    static void describe(auto& fields, auto& self) {
        fields("bytes", self.taken);
        fields("target_bytes", self.target);
    }
};

/// The monitor lowered the target by itself: see docs/host-policy.md.
struct DistressEvent {
    std::string why{};
    ByteCount target{};
    ByteCount actual{};
    static constexpr std::string_view name = "distress";
    static void describe(auto& fields, auto& self) {
        fields("why", self.why);
        fields("target_bytes", self.target);
        fields("actual_bytes", self.actual);
    }
};

/// The guest says that more of its allocations have stalled, or that it has killed for memory.
struct StallsEvent {
    std::uint64_t oom_kills = 0;
    std::uint64_t alloc_stalls = 0;
    static constexpr std::string_view name = "stalls";
    static void describe(auto& fields, auto& self) {
        fields("oom_kill", self.oom_kills);
        fields("alloc_stall", self.alloc_stalls);
    }
};

/// Says that nobody renewed the permit, so that the balloon takes no more.
struct PermitLapsedEvent {
    ByteCount target{};
    ByteCount actual{};
    static constexpr std::string_view name = "permit_lapsed";
    static void describe(auto& fields, auto& self) {
        fields("target_bytes", self.target);
        fields("actual_bytes", self.actual);
    }
};

/// New statistics of the guest's are there.
struct StatisticsEvent {
    ByteCount target{};
    ByteCount actual{};
    static constexpr std::string_view name = "statistics";
    static void describe(auto& fields, auto& self) {
        fields("target_bytes", self.target);
        fields("actual_bytes", self.actual);
    }
};

template <typename Event>
[[nodiscard]] std::string print_event(const Event&);
extern template std::string print_event(const StateEvent&);
extern template std::string print_event(const TargetReachedEvent&);
extern template std::string print_event(const TakenBackEvent&);
extern template std::string print_event(const DistressEvent&);
extern template std::string print_event(const StallsEvent&);
extern template std::string print_event(const PermitLapsedEvent&);
extern template std::string print_event(const StatisticsEvent&);

} // namespace aerate::control
