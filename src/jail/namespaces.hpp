// Namespaces, and the root in one of them.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "jail/request.hpp"

#include <string>

namespace aerate::jail {

/// Joins the network namespace that a file stands for. Fails, without waiting, for what is none.
[[nodiscard]] Result<> join_network(const std::string& path);
/// Has a user namespace in which this process is who it was, and may do what the others take.
[[nodiscard]] Result<> unshare_user();
/// Has namespaces of mounts, of System V's communication, of the host's name, of cgroups, and, if asked, of networks.
/// Returns the directory again by a mount of the new namespace; nothing is mounted here or there that shows in the
/// other.
[[nodiscard]] Result<FileDescriptor> unshare_others(Network, int directory);

/// Makes a mount of the directory, over itself, with what is mounted in it. Its devices can be opened where `devices`,
/// however it is mounted on the host.
[[nodiscard]] Result<FileDescriptor> bind_over_itself(int directory, bool devices);
/// Makes that mount this process's root, and forgets every other.
[[nodiscard]] Result<> enter_root(int mount);

} // namespace aerate::jail
