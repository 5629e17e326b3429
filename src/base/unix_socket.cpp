#include "base/unix_socket.hpp"

#include "base/host.hpp"
#include "base/peer.hpp"

#include <fcntl.h>
#include <unistd.h>

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

namespace {

/// Whether strangers cannot have made the socket, though it is `peer` who listens.
bool is_out_of_strangers_reach(const std::string& path, uid_t peer) {
    const std::string directory = path.substr(0, path.rfind('/') + 1);
    struct stat status{};
    if (::stat(directory.empty() ? "." : directory.c_str(), &status) != 0 || (status.st_mode & 0022) != 0)
        return false;
    const uid_t own = ::geteuid();
    return is_trusted_user(status.st_uid, own) || (own == 0 && status.st_uid == peer);
}

} // namespace

Result<FileDescriptor> connect_trusted_unix(const std::string& path) {
    FileDescriptor fd = TRY(connect_unix(path));
    const auto peer = peer_credentials(fd.get());
    if (!peer)
        return fail_errno("cannot tell who listens at {}", path);
    if (!is_trusted_user(peer->uid, ::geteuid()) && !is_out_of_strangers_reach(path, peer->uid))
        return std::unexpected(Error{fmt::format("at {} another user's process listens (user {}), in a directory that "
                                                 "is not ours alone",
                                                 path, peer->uid),
                                     EACCES});
    return fd;
}

FileDescriptor accept_connection(int listening) {
    return host::descriptor([=] { return ::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK); });
}

bool lacks_descriptors(int error) {
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

} // namespace aerate
