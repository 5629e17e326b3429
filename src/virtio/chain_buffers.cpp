#include "virtio/chain_buffers.hpp"

#include "base/error.hpp"

#include <array>
#include <bit>
#include <optional>

namespace aerate::virtio {
namespace {

constexpr std::uint64_t longest_chain = 1ULL << 32; // R9; virtio 1.2, 2.7.5.2

template <typename Descriptor>
std::optional<Descriptor> read_entry(const GuestMemory& memory, GuestAddress table, std::uint32_t index) {
    std::array<std::byte, descriptor_bytes> bytes;
    if (!memory.read({table.value + std::uint64_t{index} * descriptor_bytes}, bytes))
        return std::nullopt;
    return std::bit_cast<Descriptor>(bytes);
}

} // namespace

ChainBuffers::ChainBuffers(std::uint16_t ring_size, TableOrder order, bool indirect_negotiated,
                           const GuestMemory& memory)
    : memory_(&memory)
    , ring_size_(ring_size)
    , order_(order)
    , indirect_negotiated_(indirect_negotiated) {
    buffers_.reserve(ring_size);
}

void ChainBuffers::clear() {
    buffers_.clear();
    readable_ = 0;
    bytes_ = 0;
}

std::expected<void, RingFault> ChainBuffers::add(GuestAddress address, std::uint32_t length, std::uint16_t flags) {
    if ((flags & descriptor_flag::indirect) == 0)
        return add_buffer(address, length, flags);
    // A table ends its chain (2.7.5.3.1), and in a packed ring it is all of it (2.8.19). WRITE on the descriptor that
    // refers to it is ignored (2.7.5.3.2 and 2.8.7, R5).
    const bool must_be_alone = order_ == TableOrder::sequential;
    if (!indirect_negotiated_ || (flags & descriptor_flag::next) != 0 || (must_be_alone && !buffers_.empty()))
        return std::unexpected(RingFault::bad_indirect);
    return add_table(address, length);
}

std::expected<void, RingFault> ChainBuffers::add_buffer(GuestAddress address, std::uint32_t length,
                                                        std::uint16_t flags) {
    if (buffers_.size() == ring_size_)
        return std::unexpected(RingFault::chain_too_long);
    bytes_ += length;
    if (bytes_ > longest_chain)
        return std::unexpected(RingFault::chain_too_large);
    if ((flags & descriptor_flag::write) == 0) {
        if (readable_ != buffers_.size())
            return std::unexpected(RingFault::readable_after_writable);
        ++readable_;
    }
    buffers_.push_back({address, length});
    return {};
}

std::expected<void, RingFault> ChainBuffers::add_table(GuestAddress table, std::uint32_t length) {
    if (length == 0 || length % descriptor_bytes != 0 || length / descriptor_bytes > ring_size_)
        return std::unexpected(RingFault::bad_indirect);
    if (!memory_->contains(table, {length}))
        return std::unexpected(RingFault::outside_memory);
    const std::uint32_t entries = length / descriptor_bytes;
    return order_ == TableOrder::linked ? add_linked(table, entries) : add_sequential(table, entries);
}

std::expected<void, RingFault> ChainBuffers::add_linked(GuestAddress table, std::uint32_t entries) {
    std::uint32_t index = 0;
    for (std::uint32_t hops = 0; hops < entries; ++hops) {
        const auto entry = read_entry<SplitDescriptor>(*memory_, table, index);
        if (!entry)
            return std::unexpected(RingFault::outside_memory);
        if ((entry->flags & descriptor_flag::indirect) != 0)
            return std::unexpected(RingFault::bad_indirect);
        TRY(add_buffer({entry->address}, entry->length, entry->flags));
        if ((entry->flags & descriptor_flag::next) == 0)
            return {};
        if (entry->next >= entries)
            return std::unexpected(RingFault::index_out_of_range);
        index = entry->next;
    }
    return std::unexpected(RingFault::chain_too_long);
}

// 2.8.7: every flag but WRITE is reserved in a table, and ignored.
std::expected<void, RingFault> ChainBuffers::add_sequential(GuestAddress table, std::uint32_t entries) {
    for (std::uint32_t index = 0; index < entries; ++index) {
        const auto entry = read_entry<PackedDescriptor>(*memory_, table, index);
        if (!entry)
            return std::unexpected(RingFault::outside_memory);
        TRY(add_buffer({entry->address}, entry->length, entry->flags));
    }
    return {};
}

} // namespace aerate::virtio
