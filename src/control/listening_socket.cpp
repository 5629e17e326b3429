#include "control/listening_socket.hpp"

#include "base/host.hpp"
#include "base/unix_socket.hpp"
#include "control/runtime_directory.hpp"

#include <fcntl.h>

#include <sys/file.h>
#include <sys/socket.h>

namespace aerate::control {

bool answers(const std::filesystem::path& path) {
    return connect_unix(path).has_value();
}

Result<ListeningSocket> ListeningSocket::create(const std::filesystem::path& path, SocketPlace place) {
    if (place == SocketPlace::own_directory)
        TRY(secure_directory(path.parent_path()));
    // Two processes that both find the stale socket of a third must not each remove what the other has bound.
    const FileDescriptor directory =
        host::descriptor([&] { return ::open(path.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (!directory.valid() || ::flock(directory.get(), LOCK_EX) != 0)
        return fail_errno("cannot lock the runtime directory {}", path.parent_path().string());
    if (auto address = unix_address(path); !address)
        return fail_because(std::move(address).error(), "set AERATE_RUNTIME_DIR to a shorter one");
    if (!TRY(remove_dead_socket(path)))
        return fail("a VM named {} is already running (it answers at {}); choose another --name or stop it",
                    path.stem().string(), path.string());
    FileDescriptor fd = TRY(unix_stream_socket());
    auto file = TRY(SocketFile::bind(fd, path, 0600));
    if (::listen(fd.get(), SOMAXCONN) != 0)
        return fail_errno("cannot listen on the control socket {}", path.string());
    return ListeningSocket(std::move(fd), std::move(file));
}

} // namespace aerate::control
