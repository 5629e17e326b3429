#include "platform/uart_16550.hpp"

#include "base/check.hpp"

#include <algorithm>

namespace aerate {
namespace {

namespace offset {
constexpr unsigned data = 0;
constexpr unsigned interrupt_enable = 1;
constexpr unsigned identification = 2;
constexpr unsigned line_control = 3;
constexpr unsigned modem_control = 4;
constexpr unsigned line_status = 5;
constexpr unsigned modem_status = 6;
} // namespace offset

// Bits of interrupt enable, and our set of reasons to interrupt.
constexpr std::uint8_t reason_received = 0x01;
constexpr std::uint8_t reason_transmitted = 0x02;
constexpr std::uint8_t reason_line = 0x04;
constexpr std::uint8_t reason_modem = 0x08;
constexpr std::uint8_t enable_mask = 0x0f;

constexpr std::uint8_t divisor_access = 0x80; // line control

constexpr std::uint8_t fifo_enable = 0x01;
constexpr std::uint8_t fifo_clear_receiver = 0x02;

// Modem control, and the status lines that each is wired to in loopback.
constexpr std::uint8_t control_dtr = 0x01;
constexpr std::uint8_t control_rts = 0x02;
constexpr std::uint8_t control_out1 = 0x04;
constexpr std::uint8_t control_out2 = 0x08;
constexpr std::uint8_t control_loopback = 0x10;
constexpr std::uint8_t control_mask = 0x1f;
constexpr std::uint8_t clear_to_send = 0x10;
constexpr std::uint8_t data_set_ready = 0x20;
constexpr std::uint8_t ring_indicator = 0x40;
constexpr std::uint8_t carrier_detect = 0x80;

constexpr std::uint8_t line_data_ready = 0x01;
constexpr std::uint8_t line_overrun = 0x02;
constexpr std::uint8_t line_transmitter_idle = 0x60; // holding register and shift register empty

constexpr std::uint8_t low_byte(unsigned value) {
    return static_cast<std::uint8_t>(value & 0xffU);
}

} // namespace

Uart16550::Uart16550(const UartState& state)
    : state_(state) {
    state_.interrupt_enable &= enable_mask;
    state_.modem_control &= control_mask;
    state_.received_count = std::min(state_.received_count, static_cast<std::uint8_t>(state_.received.size()));
}

std::uint8_t Uart16550::read(std::uint64_t at) {
    const std::uint8_t value = load_register(at);
    seen_reasons_ &= reasons();
    return value;
}

std::optional<std::byte> Uart16550::write(std::uint64_t at, std::uint8_t value) {
    const auto transmitted = store_register(at, value);
    seen_reasons_ &= reasons();
    return transmitted;
}

std::uint8_t Uart16550::load_register(std::uint64_t at) {
    const bool divisor = (state_.line_control & divisor_access) != 0;
    switch (at % register_count) {
    case offset::data:
        return divisor ? low_byte(state_.divisor) : take_received();
    case offset::interrupt_enable:
        return divisor ? low_byte(state_.divisor >> 8U) : state_.interrupt_enable;
    case offset::identification:
        return identify_interrupt();
    case offset::line_control:
        return state_.line_control;
    case offset::modem_control:
        return state_.modem_control;
    case offset::line_status:
        return line_status();
    case offset::modem_status: {
        const auto status = low_byte(modem_lines() | state_.modem_changes);
        state_.modem_changes = 0;
        return status;
    }
    default:
        return state_.scratch;
    }
}

std::optional<std::byte> Uart16550::store_register(std::uint64_t at, std::uint8_t value) {
    const bool divisor = (state_.line_control & divisor_access) != 0;
    switch (at % register_count) {
    case offset::data:
        if (!divisor)
            return transmit(value);
        state_.divisor = static_cast<std::uint16_t>((state_.divisor & 0xff00U) | value);
        break;
    case offset::interrupt_enable:
        if (divisor) {
            state_.divisor = static_cast<std::uint16_t>((state_.divisor & 0x00ffU) | (unsigned{value} << 8U));
            break;
        }
        // Turning the transmit interrupt on raises it at once, since the transmitter is always empty: this is how a
        // driver starts to send.
        if ((value & ~state_.interrupt_enable & reason_transmitted) != 0)
            state_.transmitter_emptied = true;
        state_.interrupt_enable = value & enable_mask;
        break;
    case offset::identification:
        control_fifo(value);
        break;
    case offset::line_control:
        state_.line_control = value;
        break;
    case offset::modem_control:
        control_modem(value);
        break;
    case offset::line_status:
    case offset::modem_status:
        break;
    default:
        state_.scratch = value;
        break;
    }
    return std::nullopt;
}

std::size_t Uart16550::receive_space() const {
    if ((state_.interrupt_enable & reason_received) == 0 || (state_.modem_control & control_loopback) != 0)
        return 0;
    const std::size_t capacity = state_.fifo_enabled ? state_.received.size() : 1;
    return capacity - std::min(capacity, std::size_t{state_.received_count});
}

void Uart16550::receive(std::span<const std::byte> bytes) {
    CHECK(bytes.size() <= receive_space());
    for (const std::byte byte : bytes)
        put_received(std::to_integer<std::uint8_t>(byte));
}

bool Uart16550::take_interrupt() {
    const std::uint8_t now = reasons();
    const bool fresh = (now & ~seen_reasons_) != 0;
    seen_reasons_ = now;
    return fresh;
}

std::uint8_t Uart16550::reasons() const {
    unsigned reasons = 0;
    if (state_.received_count > 0)
        reasons |= reason_received;
    if (state_.transmitter_emptied)
        reasons |= reason_transmitted;
    if (state_.line_errors != 0)
        reasons |= reason_line;
    if (state_.modem_changes != 0)
        reasons |= reason_modem;
    return low_byte(reasons & state_.interrupt_enable);
}

std::uint8_t Uart16550::identify_interrupt() {
    constexpr std::uint8_t none = 0x01;
    // Highest priority first.
    constexpr struct {
        std::uint8_t reason;
        std::uint8_t code;
    } codes[] = {{reason_line, 0x06}, {reason_received, 0x04}, {reason_transmitted, 0x02}, {reason_modem, 0x00}};

    const std::uint8_t fifo = state_.fifo_enabled ? 0xc0 : 0x00;
    const std::uint8_t now = reasons();
    for (const auto& [reason, code] : codes) {
        if ((now & reason) == 0)
            continue;
        if (reason == reason_transmitted)
            state_.transmitter_emptied = false;
        return low_byte(unsigned{fifo} | code);
    }
    return low_byte(unsigned{fifo} | none);
}

std::uint8_t Uart16550::line_status() {
    const auto ready = state_.received_count > 0 ? line_data_ready : std::uint8_t{0};
    const auto status = low_byte(unsigned{line_transmitter_idle} | ready | state_.line_errors);
    state_.line_errors = 0;
    return status;
}

std::uint8_t Uart16550::modem_lines() const {
    const unsigned control = state_.modem_control;
    if ((control & control_loopback) == 0)
        return clear_to_send | data_set_ready | carrier_detect;
    unsigned lines = 0;
    if ((control & control_dtr) != 0)
        lines |= data_set_ready;
    if ((control & control_rts) != 0)
        lines |= clear_to_send;
    if ((control & control_out1) != 0)
        lines |= ring_indicator;
    if ((control & control_out2) != 0)
        lines |= carrier_detect;
    return low_byte(lines);
}

std::uint8_t Uart16550::take_received() {
    if (state_.received_count == 0)
        return 0;
    const std::uint8_t first = state_.received[0];
    std::shift_left(state_.received.begin(), state_.received.begin() + state_.received_count, 1);
    --state_.received_count;
    return first;
}

void Uart16550::put_received(std::uint8_t byte) {
    const std::size_t capacity = state_.fifo_enabled ? state_.received.size() : 1;
    if (state_.received_count >= capacity) {
        state_.line_errors |= line_overrun;
        return;
    }
    state_.received[state_.received_count++] = byte;
    seen_reasons_ &= low_byte(~unsigned{reason_received});
}

void Uart16550::control_fifo(std::uint8_t value) {
    const bool enable = (value & fifo_enable) != 0;
    // The other bits count only while the FIFOs are on, and switching them on or off empties them.
    if (enable != state_.fifo_enabled || (enable && (value & fifo_clear_receiver) != 0))
        state_.received_count = 0;
    state_.fifo_enabled = enable;
}

void Uart16550::control_modem(std::uint8_t value) {
    const std::uint8_t before = modem_lines();
    state_.modem_control = value & control_mask;
    const std::uint8_t after = modem_lines();
    // Each line has its change bit four below it; the ring indicator's notes only its end.
    const unsigned changed = (before ^ after) & ~unsigned{ring_indicator};
    const unsigned ring_ended = before & ~unsigned{after} & ring_indicator;
    state_.modem_changes |= low_byte((changed | ring_ended) >> 4U);
}

std::optional<std::byte> Uart16550::transmit(std::uint8_t value) {
    state_.transmitter_emptied = true;
    if ((state_.modem_control & control_loopback) != 0) {
        put_received(value);
        return std::nullopt;
    }
    return std::byte{value};
}

} // namespace aerate
