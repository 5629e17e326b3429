#include "machine/vhost_user_listener.hpp"

#include "control/listening_socket.hpp"
#include "control/runtime_directory.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace aerate {
namespace {

constexpr const char* default_name = "guest";

std::string guest_name_of(std::string_view text) {
    return control::validate_vm_name(text) ? std::string(text) : default_name;
}

Result<> remove_dead_socket(const std::filesystem::path& path) {
    struct stat status{};
    if (::lstat(path.c_str(), &status) != 0)
        return errno == ENOENT ? Result<>() : fail_errno("cannot examine {}", path.string());
    if (!S_ISSOCK(status.st_mode))
        return fail("{} exists and is not a socket; remove it", path.string());
    const auto connected = control::connect_to(path);
    if (connected)
        return fail("somebody is listening on {} already", path.string());
    if (connected.error().system_error != ECONNREFUSED)
        return std::unexpected(connected.error());
    if (::unlink(path.c_str()) != 0 && errno != ENOENT)
        return fail_errno("cannot remove the dead socket {}", path.string());
    return {};
}

template <typename T>
T number_in_environment(const char* variable) {
    T number{};
    if (const char* const text = std::getenv(variable))
        std::from_chars(text, text + std::strlen(text), number);
    return number;
}

} // namespace

Result<VhostUserListener> VhostUserListener::create(const std::filesystem::path& path, bool for_others) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string& text = path.native();
    if (text.size() >= sizeof(address.sun_path))
        return fail("the socket's path {} is longer than {} bytes", text, sizeof(address.sun_path) - 1);
    std::memcpy(address.sun_path, text.data(), text.size());
    TRY(remove_dead_socket(path));

    VhostUserListener listener(FileDescriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)),
                               guest_name_of(path.stem().string()));
    if (!listener.fd_.valid())
        return fail_errno("cannot create a socket");
    const mode_t mask = ::umask(0177);
    const bool bound = ::bind(listener.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    ::umask(mask);
    struct stat status{};
    if (!bound || ::lstat(path.c_str(), &status) != 0)
        return fail_errno("cannot bind {}", text);
    listener.path_ = path;
    listener.device_ = status.st_dev;
    listener.inode_ = status.st_ino;
    if ((for_others && ::chmod(path.c_str(), 0666) != 0) || ::listen(listener.fd(), SOMAXCONN) != 0)
        return fail_errno("cannot listen on {}", text);
    return listener;
}

Result<std::vector<VhostUserListener>> VhostUserListener::handed_over() {
    constexpr int first = 3; // SD_LISTEN_FDS_START
    std::vector<VhostUserListener> listeners;
    const bool for_us = number_in_environment<pid_t>("LISTEN_PID") == ::getpid();
    const int count = for_us ? number_in_environment<int>("LISTEN_FDS") : 0;
    const char* const given = std::getenv("LISTEN_FDNAMES");
    std::string_view names = given == nullptr ? "" : given;
    for (int fd = first; fd < first + count; ++fd) {
        const auto colon = names.find(':');
        const std::string name = guest_name_of(names.substr(0, colon));
        names = colon == names.npos ? "" : names.substr(colon + 1);
        int listens = 0;
        socklen_t size = sizeof listens;
        if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0)
            return fail("descriptor {} of the service manager is no listening socket; set Accept=no", fd);
        ::fcntl(fd, F_SETFD, FD_CLOEXEC);
        ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
        listeners.push_back(VhostUserListener(FileDescriptor(fd), name));
    }
    for (const char* const variable : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"})
        ::unsetenv(variable);
    return listeners;
}

VhostUserListener::~VhostUserListener() {
    struct stat status{};
    if (fd_.valid() && !path_.empty() && ::lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ &&
        status.st_ino == inode_)
        ::unlink(path_.c_str());
}

} // namespace aerate
