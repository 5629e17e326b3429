// The size and the shape of a VM: "machine-config", in Firecracker's words, and "backing", which is ours.
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"
#include "boot/memory_layout.hpp"
#include "control/schema.hpp"
#include "memory/guest_memory.hpp"

#include <cstdint>
#include <optional>
#include <string_view>

namespace aerate::control {

inline constexpr unsigned vcpu_count_max = 32;
inline constexpr ByteCount mem_size_min = min_ram;
/// Enough for a stock distribution kernel with its initrd. What the guest does not touch costs the host nothing.
inline constexpr ByteCount mem_size_default{512ULL << 20};
/// The layout's limit. A balloon could take a little less than 16 TiB: its PFNs are 32 bits of 4 KiB
/// (virtio 1.2, 5.5.6).
inline constexpr ByteCount mem_size_max = max_ram;

inline constexpr WordList<Backing, 3> backing_words{
    {{"anonymous", Backing::anonymous}, {"memfd", Backing::memfd}, {"hugetlb", Backing::hugetlb}}};
enum class HugePages : std::uint8_t { none, transparent, hugetlb };
inline constexpr WordList<HugePages, 3> huge_page_words{
    {{"None", HugePages::none}, {"Transparent", HugePages::transparent}, {"2M", HugePages::hugetlb}}};

/// Firecracker's static CPU templates, of which this is the one that changes nothing.
enum class CpuTemplateName : std::uint8_t { none, other };
inline constexpr WordList<CpuTemplateName, 7> cpu_template_words{{{"None", CpuTemplateName::none},
                                                                  {"C3", CpuTemplateName::other},
                                                                  {"T2", CpuTemplateName::other},
                                                                  {"T2S", CpuTemplateName::other},
                                                                  {"T2CL", CpuTemplateName::other},
                                                                  {"T2A", CpuTemplateName::other},
                                                                  {"V1N1", CpuTemplateName::other}}};

struct WholeMachineConfig;

struct MachineConfig {
    unsigned vcpu_count = 1;
    ByteCount mem_size = mem_size_default;
    bool smt = false; ///< each core has two threads, and each thread is a vCPU
    Backing backing = Backing::anonymous;
    bool track_dirty_pages = false;
    bool plain_cpu = false; ///< a request named the template "None", which takes back a PUT /cpu-config before it

    using Wire = WholeMachineConfig;
    [[nodiscard]] static Result<MachineConfig> from(const WholeMachineConfig&);
    [[nodiscard]] WholeMachineConfig wire() const;
    /// What no single field shows.
    [[nodiscard]] static Result<void> check(const MachineConfig&);
    bool operator==(const MachineConfig&) const = default;
};

/// What a PATCH changes; what is absent stays.
struct MachineConfigUpdate {
    std::optional<unsigned> vcpu_count{};
    std::optional<ByteCount> mem_size{};
    std::optional<bool> smt{};
    std::optional<Backing> backing{};
    std::optional<bool> track_dirty_pages{};
    std::optional<CpuTemplateName> cpu_template{};
    std::optional<HugePages> huge_pages{}; ///< Firecracker's word for what `backing` says; check() makes that of it

    static constexpr std::string_view object = "machine-config";
    static void describe(auto& fields, auto& self) { describe(fields, self, {}); }
    static void describe(auto& fields, auto& self, const Rule& size) {
        fields("vcpu_count", self.vcpu_count, size.within(1, vcpu_count_max));
        fields("mem_size_mib", Mib{self.mem_size}, size.within(mem_size_min.value >> 20, mem_size_max.value >> 20));
        fields("smt", self.smt);
        fields("track_dirty_pages", self.track_dirty_pages);
        fields("huge_pages", Word{self.huge_pages, huge_page_words});
        fields("backing", Word{self.backing, backing_words});
        fields("cpu_template", Word{self.cpu_template, cpu_template_words});
    }
    [[nodiscard]] static Result<void> check(MachineConfigUpdate&);
};
[[nodiscard]] MachineConfig updated(MachineConfig, const MachineConfigUpdate&);

/// How a MachineConfig travels: its two sizes must be there.
struct WholeMachineConfig : MachineConfigUpdate {
    static void describe(auto& fields, auto& self) { MachineConfigUpdate::describe(fields, self, mandatory); }
};

} // namespace aerate::control
