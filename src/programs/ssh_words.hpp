// How ssh is asked to log into a guest.
#pragma once

#include "control/vm_config.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace aerate {

/// Returns the port of this host's loopback address that leads to the guest's ssh, if user networking forwards one.
[[nodiscard]] std::optional<std::uint16_t> ssh_port(const control::VmConfig&);

/// Returns where `aerate image` keeps the private key that it makes: $XDG_CONFIG_HOME/aerate/id_ed25519, by default in
/// ~/.config. contrib/image/debian-image says the same.
[[nodiscard]] std::string own_key_path();

struct SshLogin {
    std::uint16_t port{};
    std::string name{};
    std::string user{};
    std::string identity{};    ///< empty: ssh's own keys
    std::string known_hosts{}; ///< a guest's keys are its own, whatever was behind this port before
    std::vector<std::string> command{};
};
[[nodiscard]] std::vector<std::string> ssh_words(const SshLogin&);

} // namespace aerate
