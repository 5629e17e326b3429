// How a guest's kernel tells that it has panicked: a byte at an I/O port (docs/specs/pvpanic.rst of QEMU; Linux:
// drivers/misc/pvpanic). The ACPI tables name the port, as device QEMU0001.
#pragma once

#include "platform/pio_bus.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>

namespace aerate {

class PvPanic {
public:
    static constexpr std::uint8_t panicked = 1U << 0;
    static constexpr std::uint8_t crash_loaded = 1U << 1; ///< a kernel of the guest's own takes a dump

    /// Calls `on_panic` on the vCPU's thread, once, however often the guest writes: post to the loop and return.
    explicit PvPanic(std::function<void()> on_panic)
        : on_panic_(std::move(on_panic)) {}

    /// Tells which events are known.
    void read(std::uint64_t offset, std::span<std::byte> into);
    void write(std::uint64_t offset, std::span<const std::byte> from);

private:
    std::function<void()> on_panic_;
    std::atomic<bool> told_{false};
};

} // namespace aerate
