// The x86 I/O port space.
#pragma once

#include <compare>
#include <cstdint>

#include "devices/bus.hpp"

namespace aerate {

struct Port {
    std::uint16_t value{};
    auto operator<=>(const Port&) const = default;
};

/// A string instruction (REP OUTSB) repeats its access at one port: the caller calls once a repetition.
using PioBus = Bus<Port>;

} // namespace aerate
