// The last ten minutes of a host, a point every five seconds: 120 of them, whatever the ticks were.
#pragma once

#include "control/host_status.hpp"
#include "host/answers.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace aerate::hostd {

class HistoryLog {
public:
    static constexpr std::chrono::milliseconds interval{5'000};
    static constexpr std::size_t points = 120;

    /// Takes a point if it is time for one.
    void add(const control::HostStatus&);
    [[nodiscard]] History history() const;

private:
    History shown_{.interval = interval};    ///< without its VMs
    std::map<std::string, History::Vm> vms_; ///< `end` counts from the first point ever taken
    std::uint64_t taken_ = 0;
};

} // namespace aerate::hostd
