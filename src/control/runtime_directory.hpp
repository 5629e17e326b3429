// Where the control sockets of this user's VMs are: $AERATE_RUNTIME_DIR, else $XDG_RUNTIME_DIR/aerate, else /run/aerate
// for root and /tmp/aerate-UID for others. The socket of VM "web1" is web1.sock in it.
#pragma once

#include "base/error.hpp"

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace aerate::control {

/// One to 64 of A-Z a-z 0-9 _ . -, not starting with a dot: a name, never a path.
[[nodiscard]] Result<void> validate_vm_name(std::string_view name);

[[nodiscard]] std::filesystem::path runtime_directory();
/// REQUIRES: the name is valid.
[[nodiscard]] std::filesystem::path socket_path(const std::filesystem::path& directory, std::string_view name);

/// Creates the directory if need be (its parent must exist), and refuses one through which others could reach or
/// replace our sockets: a symbolic link, another user's, or one with permissions for group or others.
[[nodiscard]] Result<void> secure_directory(const std::filesystem::path&);

/// The names of all VMs that have a socket there, sorted; those of dead processes included.
[[nodiscard]] std::vector<std::string> list_vms(const std::filesystem::path& directory);

} // namespace aerate::control
