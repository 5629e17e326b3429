#include "machine/guest_clock.hpp"

#include "base/check.hpp"
#include "base/host.hpp"

#include <unistd.h>

#include <sys/timerfd.h>

#include <algorithm>
#include <utility>

namespace aerate {

void GuestClock::look_at(std::span<const std::unique_ptr<VcpuThread>> vcpus) {
    offset_ = vcpus.front()->vcpu().tsc_offset();
    // A guest may have set one of them. Then no time is right on all.
    if (!std::ranges::all_of(vcpus, [this](const auto& vcpu) { return vcpu->vcpu().tsc_offset() == offset_; }))
        offset_.reset();
}

std::optional<VmClock::Time> GuestClock::time() const {
    const auto host = offset_ ? vm_.host_time() : std::nullopt;
    if (!host)
        return std::nullopt;
    return VmClock::Time{.tsc = host->tsc + offset_->ticks,
                         .realtime = host->realtime,
                         .khz = offset_->khz,
                         .discipline = HostDiscipline::now()};
}

void GuestClock::publish(VmClock::Change change) {
    CHECK(loop_.owned_here());
    page_.update(change, time());
}

Result<> GuestClock::keep(EventLoop& loop, std::function<bool()> runs) {
    if (!offset_)
        return {};
    timer_ = host::descriptor([] { return ::timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC); });
    if (!timer_.valid())
        return fail_errno("cannot create a timer for the guest's clock");
    due_ = TRY(loop.try_watch(timer_.get(), [this, runs = std::move(runs)] {
        std::uint64_t times = 0;
        (void)!::read(timer_.get(), &times, sizeof(times)); // or ECANCELED: the host's clock was set
        arm();
        if (runs())
            publish(VmClock::Change::none);
    }));
    arm();
    return {};
}

void GuestClock::arm() const {
    constexpr std::time_t period = 60;
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    itimerspec when{};
    when.it_value = {.tv_sec = now.tv_sec + period, .tv_nsec = now.tv_nsec};
    (void)::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &when, nullptr);
}

} // namespace aerate
