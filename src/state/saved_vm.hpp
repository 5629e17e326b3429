// Everything of a VM but its memory and its configuration, as it stands when the guest is frozen: what a snapshot keeps
// and a migration sends last.
//
//     std::vector<std::byte> bytes = encode(saved);
//     SavedVm saved = TRY(decode(bytes));
//
// A sequence of records, each with a name, a version and a length. A record of a later version, or one that this
// monitor does not know, is refused rather than guessed at. That the values make sense is checked by whoever takes them
// (KVM, the transports, the balloon), with the same checks as for a live guest.
#pragma once

#include "balloon/balloon_state.hpp"
#include "base/error.hpp"
#include "base/units.hpp"
#include "devices/uart_16550.hpp"
#include "kvm/vcpu_state.hpp"
#include "kvm/vm_state.hpp"
#include "virtio/transport_state.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace aerate::state {

struct SavedTransport {
    std::string name; ///< "balloon", "block:rootfs"
    virtio::TransportState transport;
};

/// The guest knows how large its disks are; another size would be another disk.
struct SavedDisk {
    std::string id;
    ByteCount size;
};

struct SavedVm {
    VmState vm;
    std::vector<VcpuState> vcpus;
    UartState serial;
    std::uint8_t clock_register = 0; ///< of the CMOS clock
    std::vector<SavedTransport> transports;
    std::vector<SavedDisk> disks;
    std::optional<balloon::BalloonState> balloon;
};

[[nodiscard]] std::vector<std::byte> encode(const SavedVm&);
[[nodiscard]] Result<SavedVm> decode(std::span<const std::byte>);

} // namespace aerate::state
