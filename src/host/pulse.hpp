// What a monitor says of its VM's memory, as the policy asks it each tick: GET /aerate/pulse, or, of monitors that do
// not have that, GET /aerate/status. Read from a process that may say anything.
#pragma once

#include "base/error.hpp"
#include "control/pulse.hpp"
#include "control/status.hpp"

#include <string>
#include <string_view>

namespace aerate::hostd {

using control::Pulse;

/// What does not change while a monitor lives, from its status.
struct Traits {
    std::string name{};
    int pid = 0;
    bool whole_vm = true; ///< false: only its balloon is served there, so nobody can pause it there
    ByteCount overhead{}; ///< of the monitor itself, when it was first asked
    bool operator==(const Traits&) const = default;
};

/// Both accept what later versions say besides.
[[nodiscard]] Result<Pulse> read_pulse(std::string_view json);
[[nodiscard]] Result<control::VmStatus> read_status(std::string_view json);
[[nodiscard]] Pulse pulse_of(const control::VmStatus&);
[[nodiscard]] Traits traits_of(const control::VmStatus&);

} // namespace aerate::hostd
