#include "daemon/vhost_user_listener.hpp"

#include "control/runtime_directory.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <sys/socket.h>

#include <algorithm>
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

template <typename T>
T number_in_environment(const char* variable) {
    T number{};
    if (const char* const text = std::getenv(variable))
        std::from_chars(text, text + std::strlen(text), number);
    return number;
}

} // namespace

Result<VhostUserListener> VhostUserListener::create(const std::filesystem::path& path, bool for_others) {
    auto bound = TRY(UnixListener::bind(path, for_others ? SocketAccess::everybody : SocketAccess::own_user));
    auto [fd, file] = std::move(bound).take();
    VhostUserListener listener(std::move(fd), guest_name_of(path.stem().string()));
    listener.file_.emplace(std::move(file));
    return listener;
}

std::vector<int> VhostUserListener::numbers_handed_over() {
    constexpr int first = 3;   // SD_LISTEN_FDS_START
    constexpr int most = 4096; // more than a service has; the number is whatever the environment says
    std::vector<int> numbers;
    if (number_in_environment<pid_t>("LISTEN_PID") == ::getpid())
        for (int fd = first; fd < first + std::min(number_in_environment<int>("LISTEN_FDS"), most); ++fd)
            numbers.push_back(fd);
    return numbers;
}

Result<std::vector<VhostUserListener>> VhostUserListener::handed_over() {
    std::vector<VhostUserListener> listeners;
    const char* const given = std::getenv("LISTEN_FDNAMES");
    std::string_view names = given == nullptr ? "" : given;
    for (const int fd : numbers_handed_over()) {
        const auto colon = names.find(':');
        const std::string name = guest_name_of(names.substr(0, colon));
        names = colon == names.npos ? "" : names.substr(colon + 1);
        int listens = 0;
        socklen_t size = sizeof listens;
        if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0)
            return fail("descriptor {} of the service manager is not a listening socket; set Accept=no", fd);
        ::fcntl(fd, F_SETFD, FD_CLOEXEC);
        ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
        listeners.push_back(VhostUserListener(FileDescriptor(fd), name));
    }
    for (const char* const variable : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"})
        ::unsetenv(variable);
    return listeners;
}

} // namespace aerate
