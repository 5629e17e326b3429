// Where the control sockets of this user's VMs are: $AERATE_RUNTIME_DIR, else $XDG_RUNTIME_DIR/aerate, else /run/aerate
// for root and /tmp/aerate-UID for others. The socket of VM "web1" is web1.sock in it; beside it may be web1.console,
// web1.log and web1.known_hosts.
#pragma once

#include "base/error.hpp"

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace aerate::control {

/// Accepts one to 64 of A-Z a-z 0-9 _ . -, not starting with a dot: a name, never a path.
[[nodiscard]] Result<void> validate_vm_name(std::string_view name);

[[nodiscard]] std::filesystem::path runtime_directory();
/// REQUIRES: the name is valid.
[[nodiscard]] std::filesystem::path socket_path(const std::filesystem::path& directory, std::string_view name);
/// Returns where, likewise, the console's socket is, the log of a VM without a terminal, and the host keys that its
/// guest has shown to ssh.
[[nodiscard]] std::filesystem::path console_path(const std::filesystem::path& directory, std::string_view name);
[[nodiscard]] std::filesystem::path log_path(const std::filesystem::path& directory, std::string_view name);
[[nodiscard]] std::filesystem::path known_hosts_path(const std::filesystem::path& directory, std::string_view name);

/// Creates the directory if need be (its parent must exist), and refuses one through which others could reach or
/// replace our sockets: a symbolic link, another user's, or one with permissions for group or others.
[[nodiscard]] Result<void> secure_directory(const std::filesystem::path&);

/// Returns the names of all VMs that have a socket there, sorted; dead processes included.
[[nodiscard]] std::vector<std::string> list_vms(const std::filesystem::path& directory);

} // namespace aerate::control
