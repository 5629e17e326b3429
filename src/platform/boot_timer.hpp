// How a guest tells that it has booted: Firecracker's boot timer, a page of registers of which the first byte takes
// 123.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>

namespace aerate {

class BootTimer {
public:
    static constexpr std::uint8_t booted = 123;

    /// Calls `on_boot` on the vCPU's thread, once, however often the guest writes.
    explicit BootTimer(std::function<void()> on_boot)
        : on_boot_(std::move(on_boot)) {}

    void read(std::uint64_t, std::span<std::byte> into) { std::ranges::fill(into, std::byte{0}); }
    void write(std::uint64_t offset, std::span<const std::byte> from) {
        if (offset == 0 && from.size() == 1 && from.front() == std::byte{booted} && !told_.exchange(true))
            on_boot_();
    }

private:
    std::function<void()> on_boot_;
    std::atomic<bool> told_{false};
};

} // namespace aerate
