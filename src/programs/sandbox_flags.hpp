// --sandbox, which every command that serves a guest has.
#pragma once

#include "base/error.hpp"
#include "confine/confinement.hpp"
#include "control/network_interface.hpp"

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace aerate {

struct SandboxFlags {
    confine::Use use = confine::Use::automatic;
    std::vector<std::string> allowed{}; ///< directories
};

/// `flags` outlives the parsing.
void add_sandbox_flags(CLI::App& command, SandboxFlags& flags);

/// Returns what a VM with these flags may open later, but for what its configuration names.
[[nodiscard]] std::vector<confine::Place> places_of(const SandboxFlags&);
/// Appends the directory of a socket that this process makes, and removes when it ends.
void add_socket(const std::string& socket, std::vector<confine::Place>&);

/// Returns the descriptors that network cards were given by number.
[[nodiscard]] std::vector<int> handed_over(const std::vector<control::NetworkInterface>&);
[[nodiscard]] std::vector<int> handed_over(const std::vector<control::NetworkGrant>&);
/// Returns those that cards could still be given, over the API: taps and sockets that this process was started with.
[[nodiscard]] std::vector<int> possible_cards();

} // namespace aerate
