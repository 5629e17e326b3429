#include "virtio/split_ring.hpp"

#include "base/error.hpp"
#include "virtio/ring_span.hpp"
#include "virtio/shared_word.hpp"

#include <algorithm>

namespace aerate::virtio {

SplitRing::SplitRing(const QueueRegisters& registers, QueuePosition position, FeatureSet features, GuestMemory& memory)
    : memory_(&memory)
    , registers_(registers)
    , descriptors_(ring_span(memory, registers.descriptors, descriptor_table_bytes(registers.size)))
    , available_(ring_span(memory, registers.driver, split::available_ring_bytes(registers.size)))
    , used_(ring_span(memory, registers.device, split::used_ring_bytes(registers.size)))
    , size_(registers.size)
    , event_index_(features.has(feature::event_index))
    , next_available_(position.next_available)
    , seen_available_(position.next_available)
    , next_used_(position.next_used)
    , published_(position.next_used)
    , order_(size_, features.has(feature::in_order))
    , buffers_(size_, ChainBuffers::TableOrder::linked, features.has(feature::indirect_descriptors), memory) {}

std::unexpected<RingFault> SplitRing::fail(RingFault fault) {
    fault_ = fault;
    return std::unexpected(fault);
}

std::expected<std::optional<DescriptorChain>, RingFault> SplitRing::pop() {
    if (fault_) [[unlikely]]
        return std::unexpected(*fault_);
    if (next_available_ == seen_available_ && !TRY(look_for_more()))
        return std::nullopt;

    const auto head = load_word<std::uint16_t>(available_ + split::available_entry(slot(next_available_)));
    if (head >= size_)
        return fail(RingFault::index_out_of_range);
    if (order_.holds(head))
        return fail(RingFault::too_many_in_flight);
    if (const auto read = read_chain(head); !read)
        return fail(read.error());

    ++next_available_;
    order_.take(head, 1);
    return DescriptorChain{{head}, buffers_.readable(), buffers_.writable()};
}

// Before an answer of "empty", the driver is told to kick for the very next chain, and the index is read once more: a
// chain that slipped in between would never be kicked for.
std::expected<bool, RingFault> SplitRing::look_for_more() {
    for (;;) {
        seen_available_ = load_word<std::uint16_t>(available_ + split::index, std::memory_order_acquire);
        if (static_cast<std::uint16_t>(seen_available_ - next_available_) > size_)
            return fail(RingFault::available_jumped);
        if (seen_available_ != next_available_)
            return true;
        if (!wants_kicks_ || !event_index_ || armed_at_ == next_available_)
            return false;
        arm_kick();
    }
}

std::expected<void, RingFault> SplitRing::read_chain(std::uint16_t head) {
    buffers_.clear();
    std::uint16_t index = head;
    // A count of hops ends every loop, without a set of those visited (R1).
    for (std::uint16_t hops = 0; hops < size_; ++hops) {
        std::byte* const at = descriptors_ + std::size_t{index} * descriptor_bytes;
        const GuestAddress address{load_word<std::uint64_t>(at)};
        const auto rest = load_word<std::uint64_t>(at + 8);
        const auto length = static_cast<std::uint32_t>(rest);
        const auto flags = static_cast<std::uint16_t>(rest >> 32);
        TRY(buffers_.add(address, length, flags));
        if ((flags & descriptor_flag::next) == 0)
            return {};
        index = static_cast<std::uint16_t>(rest >> 48);
        if (index >= size_)
            return std::unexpected(RingFault::index_out_of_range);
    }
    return std::unexpected(RingFault::chain_too_long);
}

void SplitRing::complete(ChainId id, std::uint32_t written) {
    order_.complete(id.value, written,
                    [this](std::uint16_t head, std::uint32_t bytes, std::uint16_t) { stage_used(head, bytes); });
    ++completed_;
}

void SplitRing::give_back(ChainId id) {
    order_.give_back(id.value);
    --next_available_;
}

void SplitRing::stage_used(std::uint16_t head, std::uint32_t written) {
    std::byte* const entry = used_ + split::used_entry(slot(next_used_));
    store_word(entry, std::uint32_t{head});
    store_word(entry + 4, written);
    ++next_used_;
}

bool SplitRing::publish() {
    const std::uint16_t before = published_;
    if (before == next_used_)
        return false;
    published_ = next_used_;
    store_word(used_ + split::index, published_, std::memory_order_release);

    const std::uint16_t first = slot(before);
    const auto count = static_cast<std::uint16_t>(published_ - before);
    memory_->wrote(registers_.device, {split::ring});
    if (first + std::size_t{count} <= size_)
        memory_->wrote({registers_.device.value + split::used_entry(first)}, {8ULL * count});
    else
        memory_->wrote(registers_.device, split::used_ring_bytes(size_));

    full_barrier();
    if (event_index_)
        return event_passed(load_word<std::uint16_t>(available_ + split::used_event(size_)), published_, before);
    return (load_word<std::uint16_t>(available_ + split::flags) & split::no_notification) == 0;
}

void SplitRing::want_kicks(bool want) {
    wants_kicks_ = want;
    if (event_index_) {
        // 2.7.10: the flag stays clear. Not to be kicked, it is enough to leave avail_event where it is, in the past.
        if (want)
            arm_kick();
        return;
    }
    store_word(used_ + split::flags, want ? std::uint16_t{0} : split::no_notification);
    memory_->wrote(registers_.device, {split::ring});
    full_barrier();
}

void SplitRing::arm_kick() {
    armed_at_ = next_available_;
    const std::size_t offset = split::available_event(size_);
    store_word(used_ + offset, next_available_);
    memory_->wrote({registers_.device.value + offset}, {2});
    full_barrier();
}

std::uint16_t SplitRing::available() {
    if (fault_)
        return 0;
    const auto index = load_word<std::uint16_t>(available_ + split::index, std::memory_order_acquire);
    return std::min(static_cast<std::uint16_t>(index - next_available_), size_);
}

} // namespace aerate::virtio
