// Where a part of a ring is in the monitor. It is looked up once, when the queue is made: the regions of guest memory
// never change, so what lay inside one region then does so for ever.
#pragma once

#include "base/check.hpp"
#include "memory/guest_memory.hpp"

namespace aerate::virtio {

/// REQUIRES: inside one region: check_registers() has seen to it.
[[nodiscard]] inline std::byte* ring_span(GuestMemory& memory, GuestAddress address, ByteCount length) {
    const auto bytes = memory.span(address, length);
    CHECK(bytes.has_value());
    return bytes->data();
}

} // namespace aerate::virtio
