// Ways into a descriptor chain and the memory that it names, shared by the queues.
#pragma once

#include "memory/guest_memory.hpp"
#include "virtio/take_chains.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace aerate::balloon {

[[nodiscard]] inline ByteCount total_length(std::span<const virtio::Buffer> buffers) {
    ByteCount total;
    for (const virtio::Buffer& buffer : buffers)
        total += ByteCount{buffer.length};
    return total;
}

/// Reads the buffers of a chain as one run of bytes, wherever the driver put the cuts (virtio 1.2, 2.6.4.1).
class BufferReader {
public:
    BufferReader(const GuestMemory& memory, std::span<const virtio::Buffer> buffers)
        : memory_(memory)
        , buffers_(buffers) {}

    /// Fills `into`, or as much of it as the chain has left; nullopt when a buffer is not RAM.
    [[nodiscard]] std::optional<std::size_t> read(std::span<std::byte> into) {
        std::size_t done = 0;
        while (done < into.size() && !buffers_.empty()) {
            const virtio::Buffer& buffer = buffers_.front();
            const std::size_t step = std::min<std::size_t>(buffer.length - offset_, into.size() - done);
            const auto address = buffer.address.plus(ByteCount{offset_});
            if (step > 0 && (!address || !memory_.read(*address, into.subspan(done, step))))
                return std::nullopt;
            done += step;
            offset_ += static_cast<std::uint32_t>(step);
            if (offset_ == buffer.length) {
                buffers_ = buffers_.subspan(1);
                offset_ = 0;
            }
        }
        return done;
    }

private:
    const GuestMemory& memory_;
    std::span<const virtio::Buffer> buffers_;
    std::uint32_t offset_ = 0;
};

/// Calls `use` with each part of `range` that is RAM; returns how many pages that was.
template <typename Use>
PageCount for_each_ram_piece(const GuestMemory& memory, PageRange range, Use&& use) {
    PageCount inside;
    for (const MappedRegion& region : memory.regions()) {
        const PageRange ram = whole_pages_inside(region.guest.start, region.guest.length);
        const FrameNumber first = std::max(range.first, ram.first);
        const FrameNumber end = std::min(range.end(), ram.end());
        if (first >= end)
            continue;
        const PageRange piece{first, {end.value - first.value}};
        inside += piece.count;
        use(piece);
    }
    return inside;
}

} // namespace aerate::balloon
