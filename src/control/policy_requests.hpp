// What the host's memory policy, and who watches it, asks of a VM: part of request.hpp's schema. docs/host-policy.md.
#pragma once

#include "base/units.hpp"
#include "control/event_feed.hpp"
#include "control/memory_policy.hpp"
#include "control/pulse.hpp"
#include "control/schema.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace aerate::control {

/// 204: carried out, nothing to say.
struct Done {};

/// The small answer that is asked for all the time.
struct GetPulse {
    static constexpr Endpoint endpoint{"GET", "/aerate/pulse"};
    using Answer = Pulse;
};
struct GetMemoryMap {
    static constexpr Endpoint endpoint{"GET", "/aerate/memory-map"};
    using Answer = MemoryMap;
};
/// What happens from now on, until the caller hangs up.
struct GetEvents {
    static constexpr Endpoint endpoint{"GET", "/aerate/events"};
};
struct PutMemoryPolicy {
    MemoryPolicy policy{};

    static constexpr Endpoint endpoint{"PUT", "/aerate/memory-policy"};
    using Answer = Done;
    static constexpr std::string_view object = MemoryPolicy::object;
    static void describe(auto& fields, auto& self) { MemoryPolicy::describe(fields, self.policy); }
};
inline constexpr std::uint64_t permit_min_ms = 1000;
inline constexpr std::uint64_t permit_max_ms = 60'000;
/// Sets the balloon's target for the host's policy, which stands by it for so long only.
struct PutPermit {
    ByteCount target{};
    std::chrono::milliseconds time{};

    static constexpr Endpoint endpoint{"PUT", "/aerate/permit"};
    using Answer = Done;
    static constexpr std::string_view object = "permit";
    static void describe(auto& fields, auto& self) {
        fields("target_bytes", self.target, mandatory);
        fields("for_ms", self.time, mandatory_between(permit_min_ms, permit_max_ms));
    }
};
/// An answer that does not end: the first event, and what follows in the feed.
struct EventStream {
    std::string first;
    std::shared_ptr<EventFeed> feed;
};

} // namespace aerate::control
