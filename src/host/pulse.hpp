// What a monitor says of its VM's memory, as the policy asks it each tick: GET /aerate/pulse, or, of monitors that do
// not have that, GET /aerate/status. Read from a process that may say anything.
#pragma once

#include "base/error.hpp"
#include "control/memory_policy.hpp"
#include "control/status.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace aerate::hostd {

struct Pulse {
    control::VmState state = control::VmState::not_started;
    ByteCount size{};
    std::optional<ByteCount> resident{}; ///< nothing: the monitor's host does not say
    ByteCount target{};
    ByteCount actual{};
    std::map<std::string, std::uint64_t> statistics{}; ///< the guest's words, by Firecracker's names
    std::optional<std::chrono::milliseconds> statistics_age{};
    std::uint64_t unasked_deflations = 0;
    std::optional<control::MemoryPolicy> policy{}; ///< nothing: the monitor knows of none
    static constexpr std::string_view object = "pulse";
    static void describe(auto& fields, auto& self) {
        fields("state", control::Word{self.state, control::state_words}, control::mandatory);
        fields("size_bytes", self.size, control::mandatory);
        fields("target_bytes", self.target);
        fields("actual_bytes", self.actual);
        fields("resident_bytes", self.resident);
        fields("statistics", self.statistics);
        fields("statistics_age_ms", self.statistics_age);
        fields("unasked_deflations", self.unasked_deflations);
        fields("memory_policy", self.policy);
    }
    bool operator==(const Pulse&) const = default;
};

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
