// One vCPU's thread: runs the guest, hands port and memory-mapped accesses to the buses, and stands still when asked.
//
// The main loop owns this object; the thread posts to it when it has paused and when the guest has ended.
#pragma once

#include "devices/mmio_bus.hpp"
#include "devices/pio_bus.hpp"
#include "event/event_loop.hpp"
#include "kvm/vcpu.hpp"
#include "kvm/vcpu_state.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

namespace aerate {

/// Why a vCPU ran no further.
struct GuestEnd {
    enum class Kind : std::uint8_t { power_off, reset, crash };
    Kind kind = Kind::power_off;
    std::string reason; ///< of a crash, or of a reset that the guest did not ask for
};

class VcpuThread {
public:
    struct Hooks {
        EventLoop* loop = nullptr;                     ///< where the callbacks run
        std::move_only_function<void()> paused;        ///< after each pause()
        std::move_only_function<void(GuestEnd)> ended; ///< at most once; this vCPU runs no further
        std::move_only_function<void()> left;          ///< after stop(): the thread needs no loop any more
    };

    VcpuThread(std::unique_ptr<Vcpu>, const PioBus&, const MmioBus&, Hooks);
    /// REQUIRES: never started, or `left` was called: a thread that still waits for an answer of a loop would wait for
    /// ever.
    ~VcpuThread();
    VcpuThread(const VcpuThread&) = delete;
    VcpuThread& operator=(const VcpuThread&) = delete;

    void start();
    /// Asks; `paused` says when. A vCPU that has ended counts as paused.
    void pause();
    void resume();
    /// Asks; `left` says when.
    void stop();
    /// Keeps it out of the guest for so long, once.
    void rest(std::chrono::microseconds);

    /// REQUIRES: never started.
    [[nodiscard]] Vcpu& vcpu() { return *vcpu_; }
    /// REQUIRES: it stands since `paused`, or was never started.
    [[nodiscard]] Result<VcpuState> save(const SavableState& savable) const { return vcpu_->save(savable); }
    /// REQUIRES: never started.
    [[nodiscard]] Result<> restore(const VcpuState& state) { return vcpu_->restore(state); }

private:
    enum class Order : std::uint8_t { run, pause, stop };
    /// Every order is a new value: a thread that sleeps on one must wake for the next, be it of the same kind.
    struct NumberedOrder {
        std::uint32_t number = 0;
        Order order = Order::run;
        std::uint8_t unused[3] = {};
    };
    void give(Order);
    void serve();
    /// One stay in the guest; false when it has ended.
    bool run_once();
    void settle();
    void end(GuestEnd);

    std::unique_ptr<Vcpu> vcpu_;
    const PioBus& ports_;
    const MmioBus& mmio_;
    Hooks hooks_;
    std::atomic<NumberedOrder> order_{NumberedOrder{}};
    std::atomic<std::int64_t> rest_{0}; ///< microseconds that are yet to be rested
    std::uint32_t orders_ = 0;          ///< given; the main loop's
    // The thread's own.
    bool ended_ = false;
    bool settled_ = true; ///< the last exit is complete: the registers are those that the guest goes on with
    std::jthread thread_;
};

} // namespace aerate
