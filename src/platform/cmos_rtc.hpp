// The MC146818 real-time clock, as far as a guest reads the time from it: UTC, 24 hours, BCD. Writes are ignored, and
// there is no alarm or periodic interrupt; kvm-clock does better in all of that.
#pragma once

#include "platform/pio_bus.hpp"

#include <cstdint>
#include <ctime>
#include <functional>
#include <mutex>
#include <span>

namespace aerate {

/// Any thread.
class CmosRtc {
public:
    static constexpr Port first_port{0x70}; ///< index, then data
    static constexpr std::uint16_t port_count = 2;

    using Clock = std::function<std::time_t()>;
    explicit CmosRtc(Clock clock = [] { return std::time(nullptr); });

    void read(std::uint64_t offset, std::span<std::byte> into);
    void write(std::uint64_t offset, std::span<const std::byte> from);

    /// The register that the guest has chosen is all that a saved VM needs: the time is always the host's.
    [[nodiscard]] std::uint8_t save() const;
    void restore(std::uint8_t index);

private:
    [[nodiscard]] std::uint8_t read_register();

    Clock clock_;
    mutable std::mutex mutex_;
    std::uint8_t index_ = 0; ///< guarded by mutex_
    std::tm latched_{};      ///< guarded by mutex_
};

} // namespace aerate
