#include "schedule.hpp"

#include "balloon/features.hpp"

#include <bit>

namespace aerate::replay {

using prove::Driver;
using prove::HintAction;
using State = prove::HintModel::State;

namespace {

std::string_view bubble_name_of(Driver driver) {
    return driver == Driver::linux_stock ? "stock-linux" : name_of(driver);
}

/// STOP would get a buffer of its own in bubble; DONE, which tells the device the same, gets the shared word.
unsigned word_for(unsigned command) {
    return command == protocol::command_stop ? protocol::command_done : command;
}

} // namespace

Result<Schedule> Schedule::begin(SteppedMonitor& monitor, SchedulePages& pages, const prove::HintSetting& setting,
                                 DeviceFaults faults) {
    const auto ring = std::bit_ceil(static_cast<std::uint16_t>(setting.queue + 1));
    TRY(monitor.tell(fmt::format("driver {}", bubble_name_of(setting.driver))));
    monitor.with_balloon([&](SteppedBalloon& balloon) { balloon.prepare(ring, faults); });
    TRY(monitor.tell(fmt::format("init {}", 1U << balloon::feature::free_page_hinting)));
    for (unsigned surplus = setting.queue; surplus < ring; ++surplus) {
        TRY(monitor.tell("marker 0 nokick"));
        TRY(monitor.with_balloon([](SteppedBalloon& balloon) { return balloon.keep_one(); }));
    }
    return Schedule(monitor, pages, setting);
}

Result<> Schedule::step(HintUse& use, const State& before, prove::Action action) {
    const unsigned page = action.page;
    const auto kind = static_cast<HintAction>(action.kind);
    switch (kind) {
    case HintAction::take:
    case HintAction::write:
        return pages_->write(page);
    case HintAction::give:
    case HintAction::look:
    case HintAction::release:
    case HintAction::done:
        return {}; // within the guest's own books
    case HintAction::begin:
        if (setting_.driver != Driver::linux_stock)
            return queue_marker(before, before.seen);
        TRY(monitor_->tell(fmt::format("setword {}", word_for(before.tracker.config_value()))));
        return {};
    case HintAction::mark:
        return queue_marker(before, word_for(before.word));
    case HintAction::end:
        return queue_marker(before, protocol::command_stop);
    case HintAction::hint:
        if (setting_.clears)
            TRY(pages_->clear(page));
        TRY(monitor_->tell("used"));
        TRY(monitor_->tell(fmt::format("hint {} 0 nokick", pages_->frames()[page].value)));
        return {};
    case HintAction::lend:
        pages_->lend(page);
        return {};
    case HintAction::land:
        return pages_->land(page);
    case HintAction::complete:
        pages_->complete(page);
        use.completed(pages_->frames()[page]);
        return {};
    case HintAction::pop:
        return monitor_->with_balloon([](SteppedBalloon& balloon) { return balloon.pop_one(); });
    default:
        return use.step(kind, page);
    }
}

/// One that finds the ring full is lost; as in Linux, only the word that it would have pointed at has changed.
Result<> Schedule::queue_marker(const State& before, unsigned marker) {
    TRY(monitor_->tell("used"));
    const std::string reply = TRY(monitor_->ask(fmt::format("marker {} nokick", marker)));
    const bool is_lost = before.queued == setting_.queue;
    if (reply != (is_lost ? "error the ring is full" : "ok"))
        return fail("marker {}: the guest answers \"{}\", with {} of {} chains in the model's queue", marker, reply,
                    before.queued, setting_.queue);
    return {};
}

Result<std::string> Schedule::damage(const State& last) {
    monitor_->with_balloon([](SteppedBalloon& balloon) { balloon.stop(); });
    TRY(monitor_->thaw());
    std::string found;
    for (unsigned page = 0; page < pages_->frames().size(); ++page) {
        if (!last.data.has(page))
            continue;
        const std::string reply = TRY(pages_->verify(page));
        if (reply != "ok")
            found += fmt::format("page {}: {}\n", static_cast<char>('A' + page), reply);
    }
    return found;
}

} // namespace aerate::replay
