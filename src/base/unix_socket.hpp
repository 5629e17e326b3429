// Unix sockets by their path. Who listens at one: base/unix_listener.hpp.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <string>

namespace aerate {

/// Fails when the path is too long for one, or has a null byte in it.
[[nodiscard]] Result<sockaddr_un> unix_address(const std::string& path);

[[nodiscard]] const sockaddr* generic(const sockaddr_un&);

/// Returns a stream socket that is not connected, and never waits.
[[nodiscard]] Result<FileDescriptor> unix_stream_socket();

/// Returns a socket that is connected to `path`, and never waits; the error is ECONNREFUSED when nobody listens there.
[[nodiscard]] Result<FileDescriptor> connect_unix(const std::string& path);

/// Returns the same, once it is known who listens there: our own user or root, or whoever was let into a directory in
/// which strangers can make no sockets, since it is our user's or root's and nobody else may write there. Root also
/// accepts the owner of such a directory. Fails otherwise: /tmp/x.sock may be anybody's.
[[nodiscard]] Result<FileDescriptor> connect_trusted_unix(const std::string& path);

/// accept4(2), its errors included; what it returns waits for nothing.
[[nodiscard]] FileDescriptor accept_connection(int listening);
/// Whether it failed for want of what somebody may give back: the socket stays readable then, so look again later
/// rather than at once.
[[nodiscard]] bool lacks_descriptors(int error);

} // namespace aerate
