#include "block/block_request.hpp"

#include "base/endian.hpp"

#include <algorithm>
#include <array>
#include <span>

namespace aerate {
namespace {

using virtio::Buffer;

constexpr std::size_t header_size = 16;
constexpr std::size_t range_size = 16;
constexpr std::size_t most_ranges = 64;

// virtio 1.2, 5.2.6.
enum class WireType : std::uint32_t { in = 0, out = 1, flush = 4, get_id = 8, discard = 11, write_zeroes = 13 };
constexpr std::uint32_t unmap_flag = 1;

std::uint64_t total_length(std::span<const Buffer> buffers) {
    std::uint64_t total = 0;
    for (const Buffer& buffer : buffers)
        total += buffer.length;
    return total;
}

/// Selects the bytes [skip, skip + length) of the buffers, as buffers. Returns false when an address wraps.
bool slice(std::span<const Buffer> buffers, std::uint64_t skip, std::uint64_t length, std::vector<Buffer>& into) {
    into.clear();
    for (const Buffer& buffer : buffers) {
        if (skip >= buffer.length) {
            skip -= buffer.length;
            continue;
        }
        const auto address = buffer.address.plus(ByteCount{skip});
        const std::uint64_t take = std::min(length, buffer.length - skip);
        if (!address)
            return false;
        if (take > 0)
            into.push_back({*address, static_cast<std::uint32_t>(take)});
        length -= take;
        skip = 0;
    }
    return true;
}

/// Copies the first bytes of the buffers. False when there are too few, or not in RAM.
bool gather(std::span<const Buffer> buffers, const GuestMemory& memory, std::span<std::byte> into) {
    for (const Buffer& buffer : buffers) {
        const auto piece = into.first(std::min<std::size_t>(into.size(), buffer.length));
        if (!piece.empty() && !memory.read(buffer.address, piece))
            return false;
        into = into.subspan(piece.size());
    }
    return into.empty();
}

std::optional<GuestAddress> find_status(std::span<const Buffer> writable, const GuestMemory& memory) {
    while (!writable.empty() && writable.back().length == 0)
        writable = writable.first(writable.size() - 1);
    if (writable.empty())
        return std::nullopt;
    const auto last = writable.back().address.plus(ByteCount{writable.back().length - 1U});
    return last && memory.contains(*last, ByteCount{1}) ? last : std::nullopt;
}

std::expected<void, BlockStatus> parse_transfer(std::uint64_t sector, const BlockLimits& limits,
                                                BlockRequest& request) {
    const std::uint64_t sectors = request.data_length / sector_size;
    if (request.data_length % sector_size != 0 || sector > limits.capacity || sectors > limits.capacity - sector)
        return std::unexpected(BlockStatus::io_error);
    request.offset = sector * sector_size;
    return {};
}

// virtio 1.2, 5.2.6.2: what the device may not do is refused before anything is done, and an unknown flag, or unmap in
// a discard, is unsupported.
std::expected<void, BlockStatus> parse_ranges(const GuestMemory& memory, const BlockLimits& limits,
                                              BlockRequest& request) {
    const bool discard = request.kind == BlockRequest::Kind::discard;
    const std::uint64_t count = request.data_length / range_size;
    if (request.data_length % range_size != 0 || count == 0 ||
        count > std::min<std::uint64_t>(limits.max_range_segments, most_ranges))
        return std::unexpected(BlockStatus::io_error);

    std::array<std::byte, most_ranges * range_size> storage;
    const auto bytes = std::span(storage).first(request.data_length);
    if (!gather(request.data, memory, bytes))
        return std::unexpected(BlockStatus::io_error);

    for (std::size_t i = 0; i < count; ++i) {
        const auto range = bytes.subspan(i * range_size, range_size);
        const auto sector = load_little_endian<std::uint64_t>(range);
        const auto sectors = load_little_endian<std::uint32_t>(range.subspan(8));
        const auto flags = load_little_endian<std::uint32_t>(range.subspan(12));
        if ((flags & ~(discard ? 0U : unmap_flag)) != 0)
            return std::unexpected(BlockStatus::unsupported);
        if (sectors > limits.max_range_sectors || sector > limits.capacity || sectors > limits.capacity - sector)
            return std::unexpected(BlockStatus::io_error);
        if (sectors > 0)
            request.ranges.push_back(
                {sector * sector_size, std::uint64_t{sectors} * sector_size, discard || (flags & unmap_flag) != 0});
    }
    return {};
}

std::expected<void, BlockStatus> parse_body(const virtio::DescriptorChain& chain, const GuestMemory& memory,
                                            const BlockLimits& limits, BlockRequest& request) {
    using Kind = BlockRequest::Kind;
    std::array<std::byte, header_size> header;
    if (!gather(chain.readable, memory, header))
        return std::unexpected(BlockStatus::io_error);
    const auto type = static_cast<WireType>(load_little_endian<std::uint32_t>(header));
    const auto sector = load_little_endian<std::uint64_t>(std::span(header).subspan(8));

    const std::uint64_t readable_data = total_length(chain.readable) - header_size;
    const std::uint64_t writable_data = total_length(chain.writable) - 1; // the status byte is there
    const auto data = [&](Kind kind, bool to_guest) -> std::expected<void, BlockStatus> {
        request.kind = kind;
        request.data_length = to_guest ? writable_data : readable_data;
        // Data in the wrong direction means that the driver and we do not agree on what this request is.
        if ((to_guest ? readable_data : writable_data) != 0)
            return std::unexpected(BlockStatus::io_error);
        const bool sliced = to_guest ? slice(chain.writable, 0, writable_data, request.data)
                                     : slice(chain.readable, header_size, readable_data, request.data);
        if (!sliced)
            return std::unexpected(BlockStatus::io_error);
        return {};
    };

    switch (type) {
    case WireType::in:
        TRY(data(Kind::read, true));
        return parse_transfer(sector, limits, request);
    case WireType::out:
        if (limits.read_only)
            return std::unexpected(BlockStatus::io_error);
        TRY(data(Kind::write, false));
        return parse_transfer(sector, limits, request);
    case WireType::flush:
        request.kind = Kind::flush;
        return {};
    case WireType::get_id:
        return data(Kind::identify, true);
    case WireType::discard:
    case WireType::write_zeroes:
        if (limits.read_only)
            return std::unexpected(BlockStatus::io_error);
        if (!(type == WireType::discard ? limits.discard : limits.write_zeroes))
            return std::unexpected(BlockStatus::unsupported);
        TRY(data(type == WireType::discard ? Kind::discard : Kind::write_zeroes, false));
        return parse_ranges(memory, limits, request);
    }
    return std::unexpected(BlockStatus::unsupported);
}

} // namespace

std::expected<void, BlockRefusal> parse_block_request(const virtio::DescriptorChain& chain, const GuestMemory& memory,
                                                      const BlockLimits& limits, BlockRequest& request) {
    request.data.clear();
    request.ranges.clear();
    request.data_length = 0;
    const auto status = find_status(chain.writable, memory);
    if (!status)
        return std::unexpected(BlockRefusal{BlockStatus::io_error, std::nullopt, false});
    request.status = *status;
    if (const auto parsed = parse_body(chain, memory, limits, request); !parsed)
        return std::unexpected(BlockRefusal{parsed.error(), status, total_length(chain.writable) == 1});
    return {};
}

} // namespace aerate
