// What the law looks at: the host, and each VM as its monitor and its guest describe it. Values only.
#pragma once

#include "policy/arithmetic.hpp"

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace aerate::policy {

/// More than any machine has.
inline constexpr ByteCount memory_max{1ULL << 46};
inline constexpr ByteRate rate_max{memory_max.value};

struct VmName {
    std::string value;
    auto operator<=>(const VmName&) const = default;
};

/// How much of what is short a VM may keep, beside others. Twice the shares keep twice as much.
struct Shares {
    std::uint64_t value = 1000;
    auto operator<=>(const Shares&) const = default;
};
inline constexpr Shares shares_max{1'000'000};

/// The guest's own words (virtio 1.2, 5.5.6.3), which may be lies.
struct Statistics {
    ByteCount free{};
    ByteCount available{};
    ByteCount caches{};
    milliseconds age{};
    bool operator==(const Statistics&) const = default;
};
/// A guest that has said nothing for longer may be hung or paused: nothing is taken on its word.
inline constexpr milliseconds statistics_age_max{5000};

struct Guest {
    ByteCount size{};
    ByteCount floor{}; ///< the operator's: no balloon takes the guest below it
    Shares shares{};
    ByteCount target{};
    ByteCount actual{};
    ByteCount resident{};                 ///< measured by the host, so no lie of the guest's
    std::optional<Statistics> said{};     ///< nothing: no driver, or none that answers
    std::uint64_t unasked_deflations = 0; ///< so far: the guest ran out, and its driver took pages back
    std::uint64_t stalls = 0;             ///< so far: allocations that waited for memory, and OOM kills
    ByteCount reread{};                   ///< so far: what the guest had to read again, from swap or from files
    std::uint64_t priority = 5;           ///< of those that grow too fast, the lowest stand still first
    bool pausable = true;                 ///< false: nobody here can stop it
    bool operator==(const Guest&) const = default;
};

struct Host {
    ByteCount total{};
    ByteCount available{}; ///< MemAvailable
    ByteCount reserve{};   ///< kept for the host itself
    Permille some{};       ///< of the time since the last look in which some tasks waited for memory (PSI)
    Permille full{};       ///< in which all did
    bool operator==(const Host&) const = default;
};

struct Inputs {
    milliseconds now{}; ///< since any moment, the same for a whole history
    Host host{};
    std::map<VmName, Guest> guests{};
    bool operator==(const Inputs&) const = default;
};

/// Returns what is kept for a host unless its operator says otherwise.
[[nodiscard]] constexpr ByteCount default_reserve(ByteCount total) {
    return std::max(ByteCount{512 * mib}, part(total, {20}));
}

/// Returns the inputs with nothing in them that cannot be: no guest has more free than it has, none is larger than
/// machines are. What follows adds and multiplies without a thought of overflow, for up to 2^16 guests.
[[nodiscard]] Inputs bounded(Inputs);

/// Returns the guest's words unless they are old.
[[nodiscard]] inline const Statistics* fresh(const Guest& guest) {
    return guest.said && guest.said->age <= statistics_age_max ? &*guest.said : nullptr;
}
/// Returns how far the balloon may go.
[[nodiscard]] inline ByteCount balloon_max(const Guest& guest) {
    return excess(guest.size, guest.floor);
}

} // namespace aerate::policy
