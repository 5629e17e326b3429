// What a VM is made of. The JSON is Firecracker's where both have the thing ("machine-config", "boot-source", "drives",
// "balloon", "entropy"); fields of our own are "name", "backing" and "kernel_entry". The same text is read from
// `aerate run --config FILE` and printed by GET /vm/config.
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"
#include "boot/kernel_image.hpp"
#include "memory/guest_memory.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace aerate::control {

inline constexpr unsigned vcpu_count_max = 32;
inline constexpr ByteCount mem_size_min{16ULL << 20};
/// The balloon's PFNs are 32 bits of 4 KiB: no page beyond 16 TiB could be ballooned (virtio 1.2, 5.5.6), and the hole
/// below 4 GiB shifts RAM upwards.
inline constexpr ByteCount mem_size_max{8ULL << 40};

struct MachineConfig {
    unsigned vcpu_count = 1;
    ByteCount mem_size{128ULL << 20};
    Backing backing = Backing::anonymous;
    bool track_dirty_pages = false;
    bool operator==(const MachineConfig&) const = default;
};

/// What a PATCH changes; what is absent stays.
struct MachineConfigUpdate {
    std::optional<unsigned> vcpu_count{};
    std::optional<ByteCount> mem_size{};
    std::optional<Backing> backing{};
    std::optional<bool> track_dirty_pages{};
};
[[nodiscard]] MachineConfig updated(MachineConfig, const MachineConfigUpdate&);

struct BootSource {
    std::string kernel_image_path{};
    std::string initrd_path{}; ///< empty: none
    std::string boot_args{};
    KernelEntry entry = KernelEntry::automatic;
    bool operator==(const BootSource&) const = default;
};

enum class CacheType : std::uint8_t { unsafe, writeback };
enum class IoEngine : std::uint8_t { sync, async };

struct Drive {
    std::string drive_id{};
    std::string path_on_host{};
    bool is_root_device = false;
    bool is_read_only = false;
    CacheType cache_type = CacheType::unsafe;
    IoEngine io_engine = IoEngine::async;
    bool operator==(const Drive&) const = default;
};

struct BalloonConfig {
    ByteCount target{};
    bool deflate_on_oom = false;
    std::chrono::seconds stats_polling_interval{}; ///< 0: no statistics
    bool free_page_hinting = false;
    bool free_page_reporting = false;
    bool operator==(const BalloonConfig&) const = default;
};

struct VmConfig {
    std::string name{};
    MachineConfig machine{};
    std::optional<BootSource> boot{};
    std::vector<Drive> drives{};
    std::optional<BalloonConfig> balloon{};
    bool entropy = false;
    bool operator==(const VmConfig&) const = default;
};

[[nodiscard]] Result<VmConfig> parse_vm_config(std::string_view json);
[[nodiscard]] std::string print_vm_config(const VmConfig&);

/// What no single field shows: the balloon against RAM, one root device, distinct drive ids.
[[nodiscard]] Result<void> validate(const VmConfig&);

} // namespace aerate::control
