// Tells at once when tasks of the host begin to wait for memory: a PSI trigger (Documentation/accounting/psi.rst).
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "event/event_loop.hpp"

#include <chrono>
#include <functional>
#include <optional>

namespace aerate::hostd {

/// A trigger that is armed, for as long as its descriptor is open. Windows shorter than two seconds need
/// CAP_SYS_RESOURCE (psi_trigger_create() in kernel/sched/psi.c); without it the trigger has the longer one.
struct ArmedTrigger {
    FileDescriptor file{};
    std::chrono::milliseconds window{};
};
inline constexpr std::chrono::milliseconds short_window{500};
inline constexpr std::chrono::milliseconds long_window{2000};
/// Fails where the kernel has no PSI. Before the process is confined.
[[nodiscard]] Result<ArmedTrigger> arm_pressure_trigger();

/// Calls back on the loop each time the trigger fires. The kernel tells at most once a window.
class PressureWatch {
public:
    PressureWatch(EventLoop&, ArmedTrigger, std::function<void()>);
    ~PressureWatch();
    PressureWatch(const PressureWatch&) = delete;
    PressureWatch& operator=(const PressureWatch&) = delete;
    [[nodiscard]] std::chrono::milliseconds window() const { return trigger_.window; }

private:
    struct Wait;
    ArmedTrigger trigger_;
    std::unique_ptr<Wait> wait_;
};

} // namespace aerate::hostd
