// Everything of a VM but its memory and its configuration, as it stands when the guest is frozen: what a snapshot keeps
// and a migration sends last.
//
//     std::vector<std::byte> bytes = encode(saved);
//     SavedVm saved = TRY(decode(bytes));
//
// A sequence of records, each with a name, a version and a length.
//
// The rule: what was released once can be read for ever. So a record's description never changes: what is added to it
// makes a new version, and the reader takes every older one. What a guest can do without gets a record of its own; a
// monitor that does not know it leaves it out, and says so. What a guest cannot do without raises the version of the
// record that it belongs to, and a monitor that is older refuses it. samples/ has the state of each released format.
//
// Whether the values make sense is checked by the code that takes them (KVM, the transports, the devices), with the
// same checks as for a live guest.
#pragma once

#include "base/error.hpp"
#include "kvm/vcpu_state.hpp"
#include "kvm/vm_state.hpp"
#include "platform/keyboard_controller.hpp"
#include "platform/uart_16550.hpp"
#include "virtio/device.hpp"
#include "virtio/transport_state.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace aerate::state {

struct SavedDevice {
    std::string name; ///< "balloon", "block:rootfs"
    virtio::TransportState transport;
    virtio::DeviceState device;
};

struct SavedVm {
    VmState vm;
    std::vector<VcpuState> vcpus;
    UartState serial;
    std::uint8_t clock_register = 0; ///< of the CMOS clock
    KeyboardState keyboard;
    std::vector<SavedDevice> devices;
    /// Names the records that a later monitor wrote and this one left out; printable. For the operator.
    std::vector<std::string> skipped;
};

[[nodiscard]] std::vector<std::byte> encode(const SavedVm&);
[[nodiscard]] Result<SavedVm> decode(std::span<const std::byte>);

} // namespace aerate::state
