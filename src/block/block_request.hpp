// What one descriptor chain asks of a block device (virtio 1.2, 5.2.6):
//
//     readable: | type 4 | reserved 4 | sector 8 | data to write, or segments ... |
//     writable: | data to read ... | status 1 |
//
// Nothing is assumed about where buffers begin and end (2.7.4.3): the header may come in pieces, and the status is the
// last writable byte wherever that lies.
#pragma once

#include "memory/guest_memory.hpp"
#include "virtio/virtqueue.hpp"

#include <cstdint>
#include <expected>
#include <optional>
#include <vector>

namespace aerate {

inline constexpr std::uint32_t sector_size = 512;

enum class BlockStatus : std::uint8_t { ok = 0, io_error = 1, unsupported = 2 };

/// What the device can do and how big it is; what it has not negotiated is unsupported.
struct BlockLimits {
    std::uint64_t capacity{}; ///< sectors
    bool read_only = false;
    bool discard = false;
    bool write_zeroes = false;
    std::uint32_t max_range_sectors = 0; ///< in one segment of a discard or write-zeroes request
    std::uint32_t max_range_segments = 0;
};

/// One segment of a discard or write-zeroes request.
struct BlockRange {
    std::uint64_t offset{}; ///< bytes
    std::uint64_t length{};
    bool unmap = false;
};

struct BlockRequest {
    enum class Kind : std::uint8_t { read, write, flush, identify, discard, write_zeroes };
    Kind kind{};
    std::uint64_t offset{};           ///< bytes into the disk: read and write
    std::vector<virtio::Buffer> data; ///< to fill (read, identify) or to write
    std::uint64_t data_length{};      ///< of all of `data`
    std::vector<BlockRange> ranges;   ///< discard and write-zeroes
    GuestAddress status;              ///< where the BlockStatus goes; in RAM when it was parsed
};

/// A request that is answered at once, if there is a byte for the answer.
struct BlockRefusal {
    BlockStatus status{};
    std::optional<GuestAddress> answer;
    bool status_is_first = false; ///< no data comes before the status byte
};

/// Parses into `request`, whose vectors keep their memory from one use to the next.
[[nodiscard]] std::expected<void, BlockRefusal> parse_block_request(const virtio::DescriptorChain&, const GuestMemory&,
                                                                    const BlockLimits&, BlockRequest& request);

} // namespace aerate
