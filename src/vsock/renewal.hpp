// What Aerate itself tells a guest that calls port 49420 of its host, unless a socket of the host's is there: random
// bytes and the time of day. For guests whose kernel does not notice that it was copied: contrib/guest/ has the program
// that calls.
//
// The connection then stays as it is, and says by its end that the guest has gone on from a snapshot or somewhere else:
// TRANSPORT_RESET ends it, without which the program would have to ask again and again. Nothing that the guest sends is
// read.
//
//     8 bytes     "AERATE01"
//     8 bytes     nanoseconds since 1970, little-endian
//     64 bytes    random, never told to anybody else
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

#include <cstddef>
#include <cstdint>

namespace aerate::vsock {

inline constexpr std::uint32_t renewal_port = 49420; // 0xc10c
inline constexpr std::size_t renewal_bytes = 80;

struct Renewal {
    FileDescriptor stream; ///< as if from a listener of the host's; what is told can be read from it
    FileDescriptor other;  ///< keeps it open
};

/// Fails when the host refuses a socket.
[[nodiscard]] Result<Renewal> make_renewal();

} // namespace aerate::vsock
