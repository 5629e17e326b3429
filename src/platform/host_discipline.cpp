#include "platform/host_discipline.hpp"

#include <sys/timex.h>

namespace aerate {

HostDiscipline HostDiscipline::now() {
    timex state{}; // no modes: only asks
    if (::adjtimex(&state) < 0)
        return {};
    // A tick is 10 ms at the nominal rate: each microsecond more or less is 100 millionths.
    constexpr long nominal_tick = 10'000;
    constexpr std::int64_t millionth = 1 << 16;
    return {.faster = state.freq + (state.tick - nominal_tick) * 100 * millionth,
            .synchronized = (state.status & STA_UNSYNC) == 0,
            .estimated_error = std::chrono::microseconds(state.esterror),
            .largest_error = std::chrono::microseconds(state.maxerror)};
}

} // namespace aerate
