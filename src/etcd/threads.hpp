// The thread of a lease in etcd, and what it may ask the kernel for: connections to the cluster, and nothing else.
#pragma once

#include "confine/calls.hpp"
#include "confine/thread_kind.hpp"

namespace aerate::etcd {

inline constexpr confine::ThreadKind lease_thread{
    .name = "lease",
    .calls = {confine::outward_sockets, confine::connected_sockets, confine::event_loop, confine::every_thread},
    .starts = {}};

} // namespace aerate::etcd
