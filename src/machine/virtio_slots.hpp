// The virtio devices of a VM behind their transports: what is done to all of them alike.
#pragma once

#include "base/error.hpp"
#include "control/status.hpp"
#include "event/event_fd.hpp"
#include "event/event_loop.hpp"
#include "machine/device_table.hpp"
#include "memory/guest_memory.hpp"
#include "state/saved_vm.hpp"
#include "virtio/device.hpp"
#include "virtio/mmio_transport.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace aerate {

/// A device behind a virtio-mmio transport, with its interrupt line. On the bus it is its register file.
struct VirtioSlot {
    EventLoop* loop; ///< the device's and the transport's
    EventFd interrupt;
    std::unique_ptr<virtio::Device> device;
    std::unique_ptr<virtio::MmioTransport> transport;

    [[nodiscard]] const std::string& name() const { return device->name(); }
    void read(std::uint64_t offset, std::span<std::byte> into) { transport->read(ByteCount{offset}, into); }
    void write(std::uint64_t offset, std::span<const std::byte> from) { transport->write(ByteCount{offset}, from); }
};

using VirtioSlots = std::deque<VirtioSlot>; ///< the buses point at them

/// Gives a device its transport. Returns its slot, the last one.
Result<VirtioSlot*> add_slot(VirtioSlots&, MadeDevice, GuestMemory&);

/// REQUIRES: all are at rest.
[[nodiscard]] std::vector<state::SavedDevice> save(VirtioSlots&);
/// Fails unless these devices were saved from slots like these.
[[nodiscard]] Result<> check_fits(const VirtioSlots&, const std::vector<state::SavedDevice>&);
/// Leaves them paused, until the machine goes on. REQUIRES: check_fits(), and no driver has touched them.
[[nodiscard]] Result<> restore(VirtioSlots&, const std::vector<state::SavedDevice>&);

/// Adds the counters of transports and devices that are on `loop`. On its thread.
void add_virtio_counters(control::VmStatus&, const VirtioSlots&, const EventLoop& loop);
void add_transport(control::VmStatus&, const std::string& device, const virtio::TransportCounters&);
void add_metrics(control::VmStatus&, std::vector<virtio::Metric>);

} // namespace aerate
