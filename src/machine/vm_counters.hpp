// Collects what the parts of a VM count into the status that the API shows. Each function on the thread that it names.
#pragma once

#include "control/status.hpp"
#include "machine/hardware.hpp"

namespace aerate {

/// Devices of the main loop, and the serial port. Main loop.
void add_main_loop_counters(control::VmStatus&, const Hardware&);
/// Memory by state, the balloon and its counters. Balloon thread.
void add_memory_and_balloon(control::VmStatus&, Hardware&);

// Parts of that, for guests of other monitors. On the balloon's thread.
void add_transport(control::VmStatus&, const std::string& device, const virtio::TransportCounters&);
void add_balloon(control::VmStatus&, const GuestMemory&, balloon::Balloon&, const balloon::Counters&,
                 const balloon::CountingSink&);

} // namespace aerate
