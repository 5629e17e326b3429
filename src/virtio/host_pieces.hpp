// The guest's buffers in our address space, for system calls that read and write guest memory themselves.
#pragma once

#include "memory/guest_memory.hpp"
#include "virtio/virtqueue.hpp"

#include <sys/uio.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace aerate::virtio {

/// Appends where the buffer is, in pieces where a region of memory ends (R8). False when some of it is not RAM; then
/// what was appended is to be dropped. A caller that writes to the pieces calls GuestMemory::wrote().
[[nodiscard]] inline bool append_host_pieces(const GuestMemory& memory, const Buffer& buffer,
                                             std::vector<iovec>& into) {
    GuestAddress address = buffer.address;
    std::uint64_t length = buffer.length;
    for (const MappedRegion& region : memory.regions()) {
        if (length == 0)
            break;
        const std::uint64_t start = region.guest.start.value;
        if (address.value < start || address.value - start >= region.guest.length.value)
            continue;
        const std::uint64_t piece = std::min(length, region.guest.length.value - (address.value - start));
        into.push_back({region.host + (address.value - start), piece});
        address.value += piece;
        length -= piece;
    }
    return length == 0;
}

} // namespace aerate::virtio
