// Guest-physical addresses that are not RAM but registers.
#pragma once

#include "memory/guest_address.hpp"
#include "platform/bus.hpp"

namespace aerate {

using MmioBus = Bus<GuestAddress>;

} // namespace aerate
