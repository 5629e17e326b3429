// The registers of a 16550A UART, without threads or files: accesses in, bytes and interrupts out.
//
// Offset  DLAB 0: read / write          DLAB 1
//   0     received / transmitted byte   divisor, low
//   1     interrupt enable              divisor, high
//   2     interrupt identification / FIFO control
//   3     line control (bit 7: DLAB)
//   4     modem control
//   5     line status
//   6     modem status
//   7     scratch
//
// The line is infinitely fast: a byte is transmitted as soon as it is written. It is quiet while the receive interrupt
// is off: a real line would overrun the FIFO then, and Linux clears the FIFO when a program opens the port, so input
// that was piped in at boot would be lost.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace aerate {

struct UartState {
    std::uint8_t interrupt_enable = 0;
    std::uint8_t line_control = 0;
    std::uint8_t modem_control = 0;
    std::uint8_t line_errors = 0;
    std::uint8_t modem_changes = 0;
    std::uint8_t scratch = 0;
    std::uint16_t divisor = 1;
    bool fifo_enabled = false;
    bool transmitter_emptied = false; ///< and the guest has not acknowledged that yet
    std::uint8_t received_count = 0;
    std::array<std::uint8_t, 16> received{};
};

class Uart16550 {
public:
    static constexpr std::uint8_t register_count = 8;

    Uart16550() = default;
    /// Restores a saved state, which may be damaged: counts are clamped.
    explicit Uart16550(const UartState&);

    /// `offset` is taken modulo 8.
    [[nodiscard]] std::uint8_t read(std::uint64_t offset);
    /// Returns the byte that went out on the line, if the write transmitted one.
    std::optional<std::byte> write(std::uint64_t offset, std::uint8_t value);

    /// Returns how many bytes the line may bring now.
    [[nodiscard]] std::size_t receive_space() const;
    /// REQUIRES: bytes.size() <= receive_space().
    void receive(std::span<const std::byte> bytes);

    /// Returns true when a reason to interrupt has come up since the last call. The ISA interrupt is edge triggered, so
    /// each reason makes an edge of its own: a driver that was handling another one does not sleep through it.
    [[nodiscard]] bool take_interrupt();

    [[nodiscard]] const UartState& state() const { return state_; }

private:
    [[nodiscard]] std::uint8_t load_register(std::uint64_t offset);
    std::optional<std::byte> store_register(std::uint64_t offset, std::uint8_t value);
    [[nodiscard]] std::uint8_t reasons() const;
    [[nodiscard]] std::uint8_t identify_interrupt();
    [[nodiscard]] std::uint8_t line_status();
    [[nodiscard]] std::uint8_t modem_lines() const;
    [[nodiscard]] std::uint8_t take_received();
    void put_received(std::uint8_t);
    void control_fifo(std::uint8_t);
    void control_modem(std::uint8_t);
    std::optional<std::byte> transmit(std::uint8_t);

    UartState state_;
    std::uint8_t seen_reasons_ = 0; ///< those that made their edge and have not gone since
};

} // namespace aerate
