// One tick of the host's memory policy: whose balloon goes up or down, who stands still, and why. Pure: it does no I/O,
// knows no clock, and decides the same for the same history. docs/host-policy.md has it in words.
#pragma once

#include "policy/growth.hpp"
#include "policy/hold.hpp"
#include "policy/inputs.hpp"
#include "policy/level.hpp"
#include "policy/need.hpp"
#include "policy/reason.hpp"

#include <map>
#include <optional>

namespace aerate::policy {

/// What the law remembers of a guest.
struct Memory {
    Habits habits{};
    Hold hold{};
    Growth growth{};
    std::optional<std::uint64_t> unasked_deflations{};
    std::optional<std::uint64_t> stalls{};
    ByteCount reached{};                            ///< by the balloon
    milliseconds progressed{};                      ///< when it last came nearer to its target
    milliseconds relieved = -std::chrono::hours(1); ///< when the guest last got memory back for its cache
    bool operator==(const Memory&) const = default;
};

/// What the law remembers: nothing else decides beside the inputs. Begins empty.
struct State {
    std::optional<milliseconds> looked{};
    std::map<VmName, Memory> guests{};
    bool operator==(const State&) const = default;
};

struct Decision {
    ByteCount target{}; ///< whole MiB, unless it is kept as it was
    Reason reason = Reason::kept;
    ByteCount taken{};  ///< what the host is to gain by it
    ByteCount given{};  ///< what the guest is to gain
    bool pause = false; ///< the guest grows faster than the host can bear: it stands still until others have given
    bool operator==(const Decision&) const = default;
};

struct Decisions {
    Level level = Level::plenty;
    milliseconds next_look{};
    std::map<VmName, Decision> guests{};
    bool operator==(const Decisions&) const = default;
};

[[nodiscard]] Decisions step(State&, const Inputs&);

} // namespace aerate::policy
