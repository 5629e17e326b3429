// Collects what the parts of a VM count into the status that the API shows. Each function on the thread that it names.
#pragma once

#include "control/status.hpp"
#include "machine/hardware.hpp"
#include "mmds/counters.hpp"

namespace aerate {

/// Devices of the main loop, and the serial port. Main loop.
void add_main_loop_counters(control::VmStatus&, const Hardware&);
/// Adds memory by state, the balloon and its counters. Balloon thread.
void add_memory_and_balloon(control::VmStatus&, Hardware&);
/// Adds what network cards count. The network's thread.
void add_network_counters(control::VmStatus&, const Hardware&);

/// Any thread.
void add_metadata_counters(control::VmStatus&, const mmds::Counters&);

/// Adds the balloon without its counters. For guests of other monitors too. On the balloon's thread.
void add_balloon(control::VmStatus&, const GuestMemory&, balloon::Balloon&, const balloon::CountingSink&);

} // namespace aerate
