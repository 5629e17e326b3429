#include "base/unix_socket.hpp"

#include "base/host.hpp"
#include "base/peer.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

namespace aerate {

const sockaddr* generic(const sockaddr_un& address) {
    return reinterpret_cast<const sockaddr*>(&address); // NOLINT: what the sockets API asks for
}

Result<sockaddr_un> unix_address(const std::string& path) {
    sockaddr_un address{};
    if (path.empty() || path.size() >= sizeof address.sun_path || path.find('\0') != path.npos)
        return fail("the path of a unix socket has 1 to {} bytes, and this one {}: {}", sizeof address.sun_path - 1,
                    path.size(), path);
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    return address;
}

Result<FileDescriptor> unix_stream_socket() {
    FileDescriptor fd =
        host::descriptor([] { return ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); });
    if (!fd.valid())
        return fail_errno("cannot create a socket");
    return fd;
}

Result<FileDescriptor> connect_unix(const std::string& path) {
    const sockaddr_un address = TRY(unix_address(path));
    FileDescriptor fd = TRY(unix_stream_socket());
    if (::connect(fd.get(), generic(address), sizeof address) != 0)
        return fail_errno("cannot connect to {}", path);
    return fd;
}

Result<bool> remove_dead_socket(const std::string& path) {
    struct stat status{};
    if (::lstat(path.c_str(), &status) != 0)
        return errno == ENOENT ? Result<bool>(true) : fail_errno("cannot examine {}", path);
    // connect() is refused by a file that is no socket, too.
    if (!S_ISSOCK(status.st_mode))
        return fail("{} exists and is not a socket; remove it", path);
    const auto connected = connect_unix(path);
    // EAGAIN: more wait there than it takes (unix(7)).
    if (connected || connected.error().system_error == EAGAIN)
        return false;
    if (connected.error().system_error != ECONNREFUSED)
        return std::unexpected(connected.error());
    if (!is_trusted_user(status.st_uid, ::geteuid()))
        return fail("{} is a socket of user {}, at which nobody listens; remove it", path, status.st_uid);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT)
        return fail_errno("cannot remove the stale socket {}", path);
    return true;
}

Result<SocketFile> SocketFile::bind(const FileDescriptor& socket, std::string path, mode_t mode) {
    const sockaddr_un address = TRY(unix_address(path));
    // bind() gives the file the mode that the socket has (net/unix/af_unix.c): no moment in which others may connect,
    // and no umask changed for other threads.
    if (::fchmod(socket.get(), mode) != 0 || ::bind(socket.get(), generic(address), sizeof address) != 0)
        return fail_errno("cannot bind {}", path);
    struct stat status{};
    if (::lstat(path.c_str(), &status) != 0)
        return fail_errno("cannot bind {}", path);
    return SocketFile(std::move(path), status.st_dev, status.st_ino);
}

SocketFile::~SocketFile() {
    struct stat status{};
    if (!path_.empty() && ::lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_)
        ::unlink(path_.c_str());
}

namespace {

/// REQUIRES: `directory` is locked, be it shared.
Result<SocketFile> bind_in_place_of_the_dead(const FileDescriptor& socket, const std::string& path,
                                             const FileDescriptor& directory) {
    auto file = SocketFile::bind(socket, path, 0777);
    if (file || file.error().system_error != EADDRINUSE)
        return file;
    if (::flock(directory.get(), LOCK_EX | LOCK_NB) != 0)
        return fail_errno("{} is there, and others make sockets beside it just now: try again, or remove it", path);
    if (!TRY(remove_dead_socket(path)))
        return fail("somebody else listens at {}: give another path", path);
    return SocketFile::bind(socket, path, 0777);
}

} // namespace

Result<UnixListener> UnixListener::bind(const std::string& path) {
    TRY(unix_address(path));
    // Two processes that both find the dead socket of a third must not each remove what the other has bound, or is
    // about to listen at. Those who find nothing there are in nobody's way: clones begin many at a time.
    const std::string directory = path.substr(0, path.rfind('/') + 1);
    const FileDescriptor lock = host::descriptor(
        [&] { return ::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (!lock.valid() || ::flock(lock.get(), LOCK_SH | LOCK_NB) != 0)
        return fail_errno("cannot lock the directory of {}", path);
    FileDescriptor fd = TRY(unix_stream_socket());
    auto file = TRY(bind_in_place_of_the_dead(fd, path, lock));
    if (::listen(fd.get(), SOMAXCONN) != 0)
        return fail_errno("cannot listen at {}", path);
    return UnixListener(std::move(fd), std::move(file));
}

FileDescriptor accept_connection(int listening) {
    return host::descriptor([=] { return ::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK); });
}

bool lacks_descriptors(int error) {
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

} // namespace aerate
