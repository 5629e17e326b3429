// A serial port: a 16550A whose line is a file descriptor each way.
//
//     auto serial = TRY(Serial::create(loop, std::make_shared<OutputSink>(TRY(OutputSink::duplicate(STDOUT_FILENO)))));
//     ports.add(Serial::com1, Serial::port_count, *serial);       // and serial->interrupt() as irqfd of
//     Serial::com1_irq
//
// Registers are accessed on vCPU threads, the line on the loop thread. Between them is one mutex, held for a few
// instructions and never over a system call, so a slow terminal does not stop the guest.
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"
#include "event/event_fd.hpp"
#include "event/event_loop.hpp"
#include "platform/console_output.hpp"
#include "platform/pio_bus.hpp"
#include "platform/uart_16550.hpp"

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

namespace aerate {

class Serial {
public:
    static constexpr Port com1{0x3f8};
    static constexpr std::uint16_t port_count = Uart16550::register_count;
    static constexpr std::uint32_t com1_irq = 4;
    /// Output that the sink has not taken yet. Beyond it the oldest half goes, and a line in its place says how much:
    /// who looks later wants the latest.
    static constexpr ByteCount output_limit{1U << 20};

    /// Loop thread, or before the loop runs; so is the destructor, and no vCPU may run by then.
    /// The sink is lent: it outlives a guest that resets itself.
    [[nodiscard]] static Result<std::unique_ptr<Serial>> create(EventLoop&, std::shared_ptr<ConsoleOutput>);
    ~Serial();

    /// Any thread.
    void read(std::uint64_t offset, std::span<std::byte> into);
    void write(std::uint64_t offset, std::span<const std::byte> from);
    /// Returns the eventfd that is signalled once for each edge.
    [[nodiscard]] const EventFd& interrupt() const { return interrupt_; }

    /// Takes as many bytes as the receiver has room for and says how many. Loop thread.
    [[nodiscard]] std::size_t receive(std::span<const std::byte>);
    [[nodiscard]] std::size_t receive_space();
    /// Calls back, once, when there is room to receive; at the next turn of the loop if there is now. Loop thread.
    void when_receive_space(EventLoop::Callback);

    /// Puts the monitor's own words into the output. Any thread.
    void print(std::string_view);

    /// Returns the bytes of output lost because the sink was too slow.
    [[nodiscard]] ByteCount dropped() const;

    /// REQUIRES: no vCPU runs.
    [[nodiscard]] UartState save() const;
    void restore(const UartState&);

private:
    Serial(EventLoop&, std::shared_ptr<ConsoleOutput>, EventFd interrupt, EventFd wake);
    void serve();
    void flush();
    void wait_for_sink();
    void append_output(std::span<const std::byte>);
    [[nodiscard]] bool take_wake(bool output_was_empty);

    EventLoop& loop_;
    EventFd interrupt_;
    EventFd wake_; ///< for the loop: output has come, or the receiver has room

    mutable std::mutex mutex_;
    Uart16550 uart_;                ///< guarded by mutex_
    std::vector<std::byte> output_; ///< guarded by mutex_
    ByteCount dropped_{};           ///< guarded by mutex_
    ByteCount unsaid_{};            ///< of it, what the output does not tell yet; guarded by mutex_
    bool receive_wanted_ = false;   ///< guarded by mutex_

    // The loop's own.
    std::shared_ptr<ConsoleOutput> sink_;
    std::vector<std::byte> flushing_;
    std::size_t flushed_ = 0;
    EventLoop::Callback receive_space_callback_;
    Subscription wakes_;
    Subscription writable_;
    int watched_ = -1; ///< by it
};

} // namespace aerate
