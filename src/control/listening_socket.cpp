#include "control/listening_socket.hpp"

#include "base/unix_socket.hpp"
#include "control/runtime_directory.hpp"

#include <cerrno>

namespace aerate::control {

bool answers(const std::filesystem::path& path) {
    return connect_unix(path).has_value();
}

Result<UnixListener> listen_for_requests(const std::filesystem::path& path, SocketPlace place) {
    if (place == SocketPlace::own_directory)
        TRY(secure_directory(path.parent_path()));
    if (auto address = unix_address(path); !address)
        return fail_because(std::move(address).error(), "set AERATE_RUNTIME_DIR to a shorter one");
    auto listener = UnixListener::bind(path, SocketAccess::own_user);
    if (!listener && listener.error().system_error == EADDRINUSE)
        return fail("a VM named {} is already running (it answers at {}); choose another --name or stop it",
                    path.stem().string(), path.string());
    return listener;
}

} // namespace aerate::control
