// The service's end of one card's TCP: the host kernel's stack, in a network namespace that has nothing but a tun
// device, whose other end is ours, and the service's address. Neither the namespace nor the guest sees any other
// network of this host.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "control/mmds_config.hpp"

namespace aerate::mmds {

/// The namespace lasts as long as one of these.
struct Endpoint {
    FileDescriptor tun;      ///< IP packets, each behind a virtio header of 10 bytes; does not block
    FileDescriptor listener; ///< at port 80; does not block
};

/// Makes the namespace, without privileges where the host lets its users make user namespaces.
[[nodiscard]] Result<Endpoint> open_endpoint(const control::Ipv4Address&);

} // namespace aerate::mmds
