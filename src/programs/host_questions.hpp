// The commands that ask "aerate host" something.
#pragma once

#include "control/host_status.hpp"
#include "programs/commands.hpp"

#include <chrono>

namespace aerate {

/// Adds "status", "explain", "set", "replay" and "admit" below "host".
void add_host_questions(CLI::App& host, Command& chosen);

/// Adds "doctor".
void add_host_doctor(CLI::App& host, Command& chosen);

/// Returns what the daemon of this user's VMs says; an error if there is none.
[[nodiscard]] Result<control::HostStatus> query_host(std::chrono::milliseconds deadline);

} // namespace aerate
