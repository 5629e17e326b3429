// The machine that bubble runs on: ports, memory-mapped registers, time. All memory is mapped to itself.
#pragma once

#include "base/units.hpp"
#include "guestkit/mmio_transport.hpp"
#include "memory/guest_address.hpp"

#include <cstddef>
#include <cstdint>

namespace bubble {

using namespace aerate;

inline void out(std::uint16_t port, std::uint8_t value) {
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}
[[nodiscard]] inline std::uint8_t in(std::uint16_t port) {
    std::uint8_t value = 0;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

[[nodiscard]] inline std::byte* memory(GuestAddress address) {
    return reinterpret_cast<std::byte*>(address.value);
}

/// guestkit::MmioAccess.
struct Access {
    [[nodiscard]] std::uint32_t read(GuestAddress address) const {
        return *reinterpret_cast<volatile std::uint32_t*>(address.value);
    }
    void write(GuestAddress address, std::uint32_t value) const {
        *reinterpret_cast<volatile std::uint32_t*>(address.value) = value;
    }
    [[nodiscard]] std::byte* memory(GuestAddress address) const { return bubble::memory(address); }
};
using Transport = guestkit::MmioTransport<Access>;

// As src/boot/memory_layout.hpp has them.
inline constexpr guestkit::MmioSlots virtio_slots{{0xd0000000}, {0x1000}, 18};
inline constexpr std::uint16_t sleep_control_port = 0x600;
inline constexpr std::uint8_t sleep_control_power_off = 0x34;

inline constexpr std::uint16_t reset_port = 0x64; // the keyboard controller's
inline constexpr std::uint8_t reset_value = 0xfe;

[[noreturn]] inline void reboot() {
    out(reset_port, reset_value);
    for (;;)
        asm volatile("hlt");
}

[[noreturn]] inline void power_off() {
    out(sleep_control_port, sleep_control_power_off);
    for (;;)
        asm volatile("hlt");
}

/// Seconds, by the CMOS clock. Looks at it no more often than asked, and must be asked once a minute.
class Stopwatch {
public:
    [[nodiscard]] unsigned seconds() {
        const unsigned now = second();
        elapsed_ += (now + 60 - last_) % 60;
        last_ = now;
        return elapsed_;
    }

private:
    [[nodiscard]] static std::uint8_t clock_register(std::uint8_t index) {
        out(0x70, index);
        return in(0x71);
    }
    [[nodiscard]] static unsigned second() {
        // Register A, bit 7: the clock is just moving on (MC146818A).
        while ((clock_register(0x0a) & 0x80U) != 0) {
        }
        const unsigned bcd = clock_register(0);
        return (bcd >> 4) * 10 + (bcd & 0xfU);
    }
    unsigned last_ = second();
    unsigned elapsed_ = 0;
};

} // namespace bubble
