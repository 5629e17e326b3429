#include "control/listening_socket.hpp"

#include "control/runtime_directory.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>

namespace aerate::control {
namespace {

Result<sockaddr_un> address_of(const std::filesystem::path& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string& text = path.native();
    if (text.size() >= sizeof(address.sun_path))
        return fail("the socket's path {} is longer than {} bytes; set AERATE_RUNTIME_DIR to a shorter one", text,
                    sizeof(address.sun_path) - 1);
    std::memcpy(address.sun_path, text.data(), text.size());
    return address;
}

const sockaddr* generic(const sockaddr_un& address) {
    return reinterpret_cast<const sockaddr*>(&address); // NOLINT: what the sockets API asks for
}

/// Clears the way for bind(): a socket that nobody listens on is removed.
Result<void> remove_stale(const std::filesystem::path& path) {
    struct stat status{};
    if (::lstat(path.c_str(), &status) != 0)
        return errno == ENOENT ? Result<void>() : fail_errno("cannot examine {}", path.string());
    if (!S_ISSOCK(status.st_mode))
        return fail("{} exists and is not a socket; remove it", path.string());
    const auto connected = connect_to(path);
    if (connected)
        return fail("a VM named {} is already running (it answers at {}); choose another --name or stop it",
                    path.stem().string(), path.string());
    if (connected.error().system_error != ECONNREFUSED)
        return std::unexpected(connected.error());
    if (::unlink(path.c_str()) != 0 && errno != ENOENT)
        return fail_errno("cannot remove the stale socket {}", path.string());
    return {};
}

} // namespace

Result<FileDescriptor> connect_to(const std::filesystem::path& path) {
    const sockaddr_un address = TRY(address_of(path));
    FileDescriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd.valid())
        return fail_errno("cannot create a socket");
    if (::connect(fd.get(), generic(address), sizeof(address)) != 0)
        return fail_errno("cannot connect to {}", path.string());
    return fd;
}

bool answers(const std::filesystem::path& path) {
    return connect_to(path).has_value();
}

Result<ListeningSocket> ListeningSocket::create(const std::filesystem::path& path) {
    TRY(secure_directory(path.parent_path()));
    // Two processes that both find the stale socket of a third must not each remove what the other has bound.
    const FileDescriptor directory(::open(path.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory.valid() || ::flock(directory.get(), LOCK_EX) != 0)
        return fail_errno("cannot lock the runtime directory {}", path.parent_path().string());
    TRY(remove_stale(path));

    const sockaddr_un address = TRY(address_of(path));
    FileDescriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd.valid())
        return fail_errno("cannot create a socket");
    const mode_t mask = ::umask(0077);
    const bool bound = ::bind(fd.get(), generic(address), sizeof(address)) == 0;
    ::umask(mask);
    if (!bound)
        return fail_errno("cannot bind the control socket {}", path.string());
    struct stat status{};
    if (::chmod(path.c_str(), 0600) != 0 || ::lstat(path.c_str(), &status) != 0 || ::listen(fd.get(), SOMAXCONN) != 0)
        return fail_errno("cannot listen on the control socket {}", path.string());
    return ListeningSocket(std::move(fd), path, status.st_dev, status.st_ino);
}

ListeningSocket::~ListeningSocket() {
    struct stat status{};
    if (fd_.valid() && ::lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_)
        ::unlink(path_.c_str());
}

} // namespace aerate::control
