// Who is at the other end of a unix socket, as the kernel knows it.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <optional>

namespace aerate {

struct PeerCredentials {
    uid_t uid;
    pid_t pid;
};

/// Returns who connected or, at the connecting end, who called listen() (unix(7), SO_PEERCRED).
[[nodiscard]] inline std::optional<PeerCredentials> peer_credentials(int fd) {
    ucred credentials{};
    socklen_t size = sizeof(credentials);
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
        return std::nullopt;
    return PeerCredentials{credentials.uid, credentials.pid};
}

/// Holds for our own user, and for root, who could take by force what is refused here.
[[nodiscard]] constexpr bool is_trusted_user(uid_t peer, uid_t own) {
    return peer == own || peer == 0;
}

} // namespace aerate
