// The host's memory and its pressure, as the kernel says them: /proc/meminfo, and PSI
// (Documentation/accounting/psi.rst).
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/units.hpp"

#include <chrono>
#include <optional>
#include <string_view>

namespace aerate::hostd {

struct MemoryInfo {
    ByteCount total{};
    ByteCount available{};
    ByteCount swap_total{};
    ByteCount swap_free{};
    ByteCount huge_pages{}; ///< set aside for hugetlb
    bool operator==(const MemoryInfo&) const = default;
};
/// Fails if MemTotal or MemAvailable is missing, or a number is none.
[[nodiscard]] Result<MemoryInfo> read_memory_info(std::string_view text);

/// For how long tasks have waited for memory since the host, or their cgroup, began.
struct Pressure {
    std::chrono::microseconds some{}; ///< at least one of them
    std::chrono::microseconds full{}; ///< all of them at once
    bool operator==(const Pressure&) const = default;
};
[[nodiscard]] Result<Pressure> read_pressure(std::string_view text);

struct HostReading {
    MemoryInfo memory{};
    std::optional<Pressure> pressure{}; ///< nothing: the kernel has no PSI, or it is off
    bool operator==(const HostReading&) const = default;
};

/// Reads both, again and again, from files that are opened once: before the process is confined.
class HostMemory {
public:
    /// Fails if there is no /proc/meminfo.
    [[nodiscard]] static Result<HostMemory> open();
    [[nodiscard]] Result<HostReading> read() const;

private:
    HostMemory(FileDescriptor memory, FileDescriptor pressure)
        : memory_(std::move(memory))
        , pressure_(std::move(pressure)) {}

    FileDescriptor memory_;
    FileDescriptor pressure_; ///< may be none
};

} // namespace aerate::hostd
