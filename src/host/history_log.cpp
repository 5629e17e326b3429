#include "host/history_log.hpp"

#include "host/mib.hpp"

#include <algorithm>
#include <vector>

namespace aerate::hostd {
namespace {

void put(std::vector<std::uint64_t>& column, std::uint64_t value) {
    if (column.size() == HistoryLog::points)
        column.erase(column.begin());
    column.push_back(value);
}

} // namespace

void HistoryLog::add(const control::HostStatus& status) {
    // A clock that was set back begins anew, at its new time.
    if (taken_ > 0 && status.now >= shown_.now && status.now - shown_.now < interval)
        return;
    shown_.now = status.now;
    ++taken_;
    put(shown_.available_mib, mib_of(status.host.available));
    put(shown_.resident_mib, mib_of(status.host.resident));
    put(shown_.some_permille, status.host.some);
    put(shown_.level, static_cast<std::uint64_t>(status.host.level));
    for (const control::HostVm& vm : status.vms) {
        History::Vm& line = vms_[vm.name];
        if (line.end + 1 != taken_) // it was away
            line = {};
        line.end = taken_;
        put(line.resident_mib, mib_of(vm.resident));
        put(line.need_mib, mib_of(vm.need));
        put(line.balloon_mib, mib_of(vm.balloon));
    }
    std::erase_if(vms_, [&](const auto& entry) { return entry.second.end + points <= taken_; });
}

History HistoryLog::history() const {
    History history = shown_;
    const std::uint64_t before = taken_ - shown_.level.size(); // points that are forgotten
    for (const auto& [name, line] : vms_) {
        History::Vm vm = line;
        vm.name = name;
        vm.end = line.end - before;
        for (auto* column : {&vm.resident_mib, &vm.need_mib, &vm.balloon_mib})
            if (column->size() > vm.end)
                column->erase(column->begin(), column->end() - static_cast<std::ptrdiff_t>(vm.end));
        history.vms.push_back(std::move(vm));
    }
    return history;
}

} // namespace aerate::hostd
