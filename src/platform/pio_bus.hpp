// The x86 I/O port space.
#pragma once

#include "platform/bus.hpp"

#include <compare>
#include <cstdint>

namespace aerate {

struct Port {
    std::uint16_t value{};
    auto operator<=>(const Port&) const = default;
};

/// A string instruction (REP OUTSB) repeats its access at one port: the caller calls once a repetition.
using PioBus = Bus<Port>;

} // namespace aerate
