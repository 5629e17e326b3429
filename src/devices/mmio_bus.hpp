// Guest-physical addresses that are not RAM but registers.
#pragma once

#include "devices/bus.hpp"
#include "memory/guest_address.hpp"

namespace aerate {

using MmioBus = Bus<GuestAddress>;

} // namespace aerate
