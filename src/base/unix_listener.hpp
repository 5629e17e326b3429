// A unix socket that listens at a path, and its file, which goes with it.
//
//     bind and listen under a name beside the path that nobody has, then give it the path's name:
//         nothing is there               link(2)
//         a socket at which nobody listens   exchange the two (renameat2(2)), look at what was there again, remove it
//
// So a socket that has the name listens already, and of several processes that find the same dead socket one gets the
// name and the others are told. No lock is needed: in /tmp anybody can hold one.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>

namespace aerate {

/// The file of a listening socket; removed at the end, if it is still the one that was made.
class SocketFile {
public:
    /// Answers for the file of that inode, which has or will have the name `path`.
    SocketFile(std::string path, dev_t device, ino_t inode)
        : path_(std::move(path))
        , device_(device)
        , inode_(inode) {}
    SocketFile(SocketFile&& other) noexcept
        : path_(std::exchange(other.path_, {}))
        , device_(other.device_)
        , inode_(other.inode_) {}
    SocketFile& operator=(SocketFile&&) = delete;
    ~SocketFile();

    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_; ///< empty: moved from
    dev_t device_;
    ino_t inode_;
};

/// Whom the file lets connect, from the first moment on.
enum class SocketAccess : std::uint8_t {
    own_user,
    as_umask_says,
    everybody, ///< who is served is then up to whoever accepts
};

class UnixListener {
public:
    /// Fails if there is something at `path`, unless it is a socket, our own or root's, at which no process listens any
    /// more; the error is EADDRINUSE when one does.
    [[nodiscard]] static Result<UnixListener> bind(const std::string& path,
                                                   SocketAccess access = SocketAccess::as_umask_says);

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] const std::string& path() const { return file_.path(); }
    /// Hands over both parts.
    [[nodiscard]] std::pair<FileDescriptor, SocketFile> take() && { return {std::move(fd_), std::move(file_)}; }

private:
    UnixListener(FileDescriptor fd, SocketFile file)
        : fd_(std::move(fd))
        , file_(std::move(file)) {}
    FileDescriptor fd_;
    SocketFile file_;
};

} // namespace aerate
