// Which virtio devices a VM can have, and how each is made from its configuration.
#pragma once

#include "base/error.hpp"
#include "block/io_engine.hpp"
#include "control/vm_config.hpp"
#include "event/event_loop.hpp"
#include "machine/host_files.hpp"
#include "memory/guest_memory.hpp"
#include "virtio/device.hpp"

#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace aerate {

/// What a device may be made of.
struct DevicePlace {
    const control::VmConfig& config;
    const HostFiles& files;
    GuestMemory& memory;
    EventLoop& main_loop;
    EventLoop& balloon_loop; ///< for what may take milliseconds
    EventLoop& net_loop;     ///< for traffic that is to hold up neither disks nor the API
};

/// Returns what carries out the drive's I/O.
[[nodiscard]] IoEngineKind engine_kind(const control::Drive&);

struct MadeDevice {
    std::unique_ptr<virtio::Device> device;
    EventLoop* loop; ///< the device's and its transport's
};

struct DeviceKind {
    /// What the names of its devices begin with: "balloon", "block:rootfs".
    std::string_view name;
    /// Makes as many devices as the configuration has of this kind, or none.
    Result<std::vector<MadeDevice>> (*make)(const DevicePlace&);
};

/// Returns all of them. Their order decides on which bus address and interrupt line a device is, and so is part of what
/// a saved guest knows: a new kind comes last.
[[nodiscard]] std::span<const DeviceKind> device_kinds();

/// Makes the devices of a VM, in the order of the table.
[[nodiscard]] Result<std::vector<MadeDevice>> make_devices(std::span<const DeviceKind>, const DevicePlace&);

} // namespace aerate
