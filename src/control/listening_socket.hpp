// The control socket: claimed by one process, and its file removed with it.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/unix_socket.hpp"

#include <cstdint>
#include <filesystem>
#include <utility>

namespace aerate::control {

/// Whose directory the socket lies in. In a directory that the operator has named others may have files too: who may
/// connect is then decided by their credentials alone.
enum class SocketPlace : std::uint8_t { own_directory, named_by_operator };

class ListeningSocket {
public:
    /// See Server::create().
    [[nodiscard]] static Result<ListeningSocket> create(const std::filesystem::path&,
                                                        SocketPlace = SocketPlace::own_directory);
    [[nodiscard]] int fd() const { return fd_.get(); }

private:
    ListeningSocket(FileDescriptor fd, SocketFile file)
        : fd_(std::move(fd))
        , file_(std::move(file)) {}
    FileDescriptor fd_;
    SocketFile file_;
};

/// Returns whether a process listens at `path`.
[[nodiscard]] bool answers(const std::filesystem::path& path);

} // namespace aerate::control
