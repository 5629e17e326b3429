// One vCPU's thread: runs the guest, hands port and memory-mapped accesses to the buses, and pauses when asked.
//
// The main loop owns this object; the thread posts to it when it has paused and when the guest has ended.
#pragma once

#include "event/event_loop.hpp"
#include "kvm/vcpu.hpp"
#include "kvm/vcpu_state.hpp"
#include "platform/mmio_bus.hpp"
#include "platform/pio_bus.hpp"
#include "protocol/freeze.hpp"

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
        EventLoop* loop = nullptr; ///< where the callbacks run
        /// Answers a pause() with this number. One that a later order overtakes is not answered.
        std::move_only_function<void(protocol::OrderNumber)> paused;
        std::move_only_function<void(GuestEnd)> ended; ///< at most once; this vCPU runs no further
        std::move_only_function<void()> left;          ///< after stop(): the thread no longer needs the loop
    };

    VcpuThread(std::unique_ptr<Vcpu>, const PioBus&, const MmioBus&, Hooks);
    /// Stops the thread, if that was not done, and waits for it. No hook is called afterwards. On the hooks' loop.
    /// REQUIRES: no access of the guest waits for the calling thread's loop.
    ~VcpuThread();
    VcpuThread(const VcpuThread&) = delete;
    VcpuThread& operator=(const VcpuThread&) = delete;

    /// Starts the thread, which waits for its first order. Fails when the host refuses the thread.
    [[nodiscard]] Result<> start();
    /// Asks the vCPU to pause; `paused` says when it has. A vCPU that has ended counts as paused. REQUIRES: each
    /// pause() and resume() has a greater number than the one before.
    void pause(protocol::OrderNumber);
    void resume(protocol::OrderNumber);
    /// Asks the vCPU to end; `left` says when it has.
    void stop();
    /// Keeps it out of the guest for so long, once.
    void rest(std::chrono::microseconds);

    /// REQUIRES: never started.
    [[nodiscard]] Vcpu& vcpu() { return *vcpu_; }
    /// REQUIRES: it stands since `paused`, or was never started.
    [[nodiscard]] Result<VcpuState> save(const SavableState& savable) const { return vcpu_->save(savable); }
    /// REQUIRES: never started.
    [[nodiscard]] Result<> restore(const VcpuState& state, std::chrono::nanoseconds forward) {
        return vcpu_->restore(state, forward);
    }

private:
    enum class Order : std::uint8_t { wait, run, pause, stop };
    /// Every order is a new value: a thread that sleeps on one must wake for the next, be it of the same kind.
    struct NumberedOrder {
        protocol::OrderNumber number;
        Order order = Order::wait;
        std::uint8_t unused[3] = {};
    };
    void give(protocol::OrderNumber, Order);
    void serve();
    /// Calls `hook` on the loop, unless this object is gone by then.
    template <typename Hook>
    void post(Hook hook);
    /// Runs the vCPU until its next exit; returns false when it has ended.
    bool run_once();
    void settle();
    void end(GuestEnd);

    std::unique_ptr<Vcpu> vcpu_;
    const PioBus& ports_;
    const MmioBus& mmio_;
    Hooks hooks_;
    std::atomic<NumberedOrder> order_{NumberedOrder{}};
    std::atomic<std::int64_t> rest_{0}; ///< microseconds that are yet to be rested
    // The thread's own.
    bool ended_ = false;
    bool settled_ = true; ///< the last exit is complete: the registers are those that the guest goes on with
    /// The loop outlives this: what is still posted there looks here first.
    std::shared_ptr<const int> alive_ = std::make_shared<const int>();
    std::jthread thread_;
};

} // namespace aerate
