// Carries out a schedule of the hint model step by step: the guest's steps are commands to bubble, the device's are
// pops and the disk's buffers, the monitor's go to the HintUse.
#pragma once

#include "base/error.hpp"
#include "hint_use.hpp"
#include "prove/hint_model.hpp"
#include "prove/trace.hpp"
#include "schedule_pages.hpp"
#include "stepped_monitor.hpp"

#include <string>
#include <vector>

namespace aerate::replay {

class Schedule {
public:
    /// Sets up a driver of the setting's kind, with a ring that is as long as the model's queue.
    [[nodiscard]] static Result<Schedule> begin(SteppedMonitor&, SchedulePages&, const prove::HintSetting&,
                                                DeviceFaults);

    [[nodiscard]] Result<> step(HintUse&, const prove::HintModel::State& before, prove::Action);
    /// The guest runs, and looks at every page that matters to it. What it finds wrong, a line a page.
    [[nodiscard]] Result<std::string> damage(const prove::HintModel::State& last);

private:
    Schedule(SteppedMonitor& monitor, SchedulePages& pages, const prove::HintSetting& setting)
        : monitor_(&monitor)
        , pages_(&pages)
        , setting_(setting) {}
    Result<> queue_marker(const prove::HintModel::State& before, unsigned marker);

    SteppedMonitor* monitor_;
    SchedulePages* pages_;
    prove::HintSetting setting_;
};

} // namespace aerate::replay
