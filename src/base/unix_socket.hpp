// Unix sockets by their path: whoever listens at one claims its file, and the file goes with it.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include <string>
#include <utility>

namespace aerate {

/// Fails when the path is too long for one, or has a null byte in it.
[[nodiscard]] Result<sockaddr_un> unix_address(const std::string& path);

[[nodiscard]] const sockaddr* generic(const sockaddr_un&);

/// Returns a stream socket that is not connected, and never waits.
[[nodiscard]] Result<FileDescriptor> unix_stream_socket();

/// Returns a socket that is connected to `path`, and never waits; the error is ECONNREFUSED when nobody listens there.
[[nodiscard]] Result<FileDescriptor> connect_unix(const std::string& path);

/// Removes what a killed listener left behind: a socket of our own or of root's, and nothing else, at which no process
/// listens any more. Returns whether the path is free: false when somebody listens.
[[nodiscard]] Result<bool> remove_dead_socket(const std::string& path);

/// The file of a listening socket; removed at the end, if it is still the one that was made.
class SocketFile {
public:
    /// Makes the file by binding `socket` to it, with `mode` less the umask from the first moment on: 0600 lets in
    /// nobody but our own user.
    [[nodiscard]] static Result<SocketFile> bind(const FileDescriptor& socket, std::string path, mode_t mode = 0600);
    SocketFile(SocketFile&& other) noexcept
        : path_(std::exchange(other.path_, {}))
        , device_(other.device_)
        , inode_(other.inode_) {}
    SocketFile& operator=(SocketFile&&) = delete;
    ~SocketFile();

    [[nodiscard]] const std::string& path() const { return path_; }

private:
    SocketFile(std::string path, dev_t device, ino_t inode)
        : path_(std::move(path))
        , device_(device)
        , inode_(inode) {}
    std::string path_; ///< empty: moved from
    dev_t device_;
    ino_t inode_;
};

/// A socket that listens, and its file, which goes with it.
class UnixListener {
public:
    /// Fails if there is something at `path`, unless it is a socket on which nobody listens any more. The file has the
    /// mode that the umask says.
    [[nodiscard]] static Result<UnixListener> bind(const std::string& path);

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] const std::string& path() const { return file_.path(); }

private:
    UnixListener(FileDescriptor fd, SocketFile file)
        : fd_(std::move(fd))
        , file_(std::move(file)) {}
    FileDescriptor fd_;
    SocketFile file_;
};

/// accept4(2), its errors included; what it returns waits for nothing.
[[nodiscard]] FileDescriptor accept_connection(int listening);
/// Whether it failed for want of what somebody may give back: the socket stays readable then, so look again later
/// rather than at once.
[[nodiscard]] bool lacks_descriptors(int error);

} // namespace aerate
