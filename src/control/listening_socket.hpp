// The control socket: claimed by one process, and its file removed with it.
#pragma once

#include "base/error.hpp"
#include "base/unix_listener.hpp"

#include <cstdint>
#include <filesystem>

namespace aerate::control {

/// Whose directory the socket lies in. In a directory that the operator has named others may have files too: who may
/// connect is then decided by their credentials alone.
enum class SocketPlace : std::uint8_t { own_directory, named_by_operator };

/// See Server::create().
[[nodiscard]] Result<UnixListener> listen_for_requests(const std::filesystem::path&,
                                                       SocketPlace = SocketPlace::own_directory);

/// Returns whether a process listens at `path`.
[[nodiscard]] bool answers(const std::filesystem::path& path);

} // namespace aerate::control
