// From the law's decision about a VM to what its monitor is told. Pure.
//
// What the daemon asks for ends by itself when the daemon does: an inflation that nobody permits any more stops, and a
// guest that was paused goes on. So it needs to remember nothing, and one that is started again finds the VMs as their
// operators left them.
#pragma once

#include "host/pulse.hpp"
#include "policy/law.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace aerate::hostd {

/// For how long a monitor stands by what it was told; and how soon it is told again, while it matters.
inline constexpr std::chrono::milliseconds permit_time{10'000};
inline constexpr std::chrono::milliseconds permit_renewal{3'000};
inline constexpr std::chrono::milliseconds pause_time{3'000};
inline constexpr std::chrono::milliseconds pause_renewal{1'000};

struct Order {
    enum class Kind : std::uint8_t { target, pause };
    Kind kind{};
    std::string method{};
    std::string path{};
    std::string body{};
    bool operator==(const Order&) const = default;
};

/// What a monitor can be told, as far as it is known.
struct Abilities {
    bool permits = true; ///< PUT /aerate/permit; else PATCH /balloon, for monitors of earlier releases
    bool pauses = true;  ///< PATCH /vm with for_ms
    bool operator==(const Abilities&) const = default;
};

/// What it was told before.
struct Told {
    std::optional<std::chrono::milliseconds> permitted{}; ///< when the target was last set
    std::optional<std::chrono::milliseconds>
        paused{}; ///< when the pause was last asked for; nothing: it is none of ours
    bool operator==(const Told&) const = default;
};

/// Returns what is to be sent now, and keeps in `told` what it then was told.
[[nodiscard]] std::vector<Order> orders_of(const Pulse&, const policy::Decision&, const Abilities&, Told& told,
                                           std::chrono::milliseconds now);

} // namespace aerate::hostd
