// Who is at the other end of a unix socket.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <optional>

namespace aerate::control {

struct PeerCredentials {
    uid_t uid;
    pid_t pid;
};

[[nodiscard]] inline std::optional<PeerCredentials> peer_credentials(int fd) {
    ucred credentials{};
    socklen_t size = sizeof(credentials);
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
        return std::nullopt;
    return PeerCredentials{credentials.uid, credentials.pid};
}

[[nodiscard]] constexpr bool may_connect(uid_t peer, uid_t own) {
    return peer == own || peer == 0;
}

} // namespace aerate::control
