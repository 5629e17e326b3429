// The time of day that a guest finds in its memory (VMClock), by its own TSC: where that follows this host's, which
// keeps its time by it. Published when the guest boots or comes here, and while it runs once a minute, since the host's
// clock is corrected all the time, and at once when that is set.
//
// Main loop, or before it runs.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "boot/memory_layout.hpp"
#include "event/event_loop.hpp"
#include "kvm/vm.hpp"
#include "machine/vcpu_thread.hpp"
#include "platform/vm_clock.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <span>

namespace aerate {

class GuestClock {
public:
    GuestClock(const EventLoop& loop, const Vm& vm, GuestMemory& memory)
        : loop_(loop)
        , vm_(vm)
        , page_(memory, layout::vm_clock) {}

    /// Looks how the guest's TSC follows the host's. REQUIRES: the vCPUs do not run.
    void look_at(std::span<const std::unique_ptr<VcpuThread>>);
    /// Makes the page of a guest that boots. False if there is no RAM.
    [[nodiscard]] bool begin() { return page_.begin(time()); }
    /// REQUIRES: nobody copies the guest's memory as it stands.
    void publish(VmClock::Change);
    /// Publishes from time to time, when the guest `runs`. Fails when the host refuses a timer.
    [[nodiscard]] Result<> keep(EventLoop&, std::function<bool()> runs);

private:
    [[nodiscard]] std::optional<VmClock::Time> time() const;
    void arm() const;

    const EventLoop& loop_;
    const Vm& vm_;
    VmClock page_;
    std::optional<TscOffset> offset_;
    FileDescriptor timer_;
    Subscription due_;
};

} // namespace aerate
