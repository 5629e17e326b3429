#include "virtio/packed_ring.hpp"

#include "base/error.hpp"
#include "virtio/ring_span.hpp"
#include "virtio/shared_word.hpp"

namespace aerate::virtio {

using packed::EventSuppression;
using packed::Tail;

PackedRing::PackedRing(const QueueRegisters& registers, QueuePosition position, FeatureSet features,
                       GuestMemory& memory)
    : memory_(&memory)
    , registers_(registers)
    , ring_(ring_span(memory, registers.descriptors, descriptor_table_bytes(registers.size)))
    , driver_event_(ring_span(memory, registers.driver, packed::event_suppression_bytes))
    , device_event_(ring_span(memory, registers.device, packed::event_suppression_bytes))
    , size_(registers.size)
    , event_index_(features.has(feature::event_index))
    , next_available_{position.next_available, position.available_wrap}
    , next_used_{position.next_used, position.used_wrap}
    , order_(size_, features.has(feature::in_order))
    , buffers_(size_, ChainBuffers::TableOrder::sequential, features.has(feature::indirect_descriptors), memory) {}

std::unexpected<RingFault> PackedRing::fail(RingFault fault) {
    fault_ = fault;
    return std::unexpected(fault);
}

Tail PackedRing::tail_at(std::uint16_t slot) const {
    std::byte* const at = ring_ + std::size_t{slot} * descriptor_bytes + packed::tail_offset;
    return Tail::from(load_word<std::uint64_t>(at, std::memory_order_acquire));
}

bool PackedRing::is_empty() const {
    return !packed::is_available(tail_at(next_available_.slot).flags, next_available_.wrap);
}

std::expected<std::optional<DescriptorChain>, RingFault> PackedRing::pop() {
    if (fault_) [[unlikely]]
        return std::unexpected(*fault_);
    if (is_empty()) {
        if (!wants_kicks_ || !event_index_ || armed_at_ == next_available_)
            return std::nullopt;
        // As in a split ring: ask for a kick, then look once more.
        arm_kick();
        if (is_empty())
            return std::nullopt;
    }

    const auto chain = read_chain();
    if (!chain)
        return fail(chain.error());
    next_available_.advance(chain->descriptors, size_);
    held_ = static_cast<std::uint16_t>(held_ + chain->descriptors);
    order_.take(chain->id, chain->descriptors);
    return DescriptorChain{{chain->id}, buffers_.readable(), buffers_.writable()};
}

// Only the first descriptor's flags say whether the chain is available: the driver writes them last (2.8.6).
std::expected<PackedRing::Extent, RingFault> PackedRing::read_chain() {
    buffers_.clear();
    packed::Cursor at = next_available_;
    for (std::uint16_t hops = 1; hops <= size_; ++hops) {
        // Running into descriptors that are in flight, its own included, is P2; P3 when they are others'.
        if (held_ + hops > size_)
            return std::unexpected(RingFault::too_many_in_flight);
        const Tail tail = tail_at(at.slot);
        const GuestAddress address{load_word<std::uint64_t>(ring_ + std::size_t{at.slot} * descriptor_bytes)};
        TRY(buffers_.add(address, tail.length, tail.flags));
        if ((tail.flags & descriptor_flag::next) == 0) {
            // 2.8.6: the buffer ID stands in the last descriptor of a chain.
            if (tail.id >= size_)
                return std::unexpected(RingFault::index_out_of_range);
            if (order_.holds(tail.id))
                return std::unexpected(RingFault::too_many_in_flight);
            return Extent{tail.id, hops};
        }
        at.advance(1, size_);
    }
    return std::unexpected(RingFault::chain_too_long);
}

void PackedRing::complete(ChainId id, std::uint32_t written) {
    order_.complete(id.value, written, [this](std::uint16_t buffer, std::uint32_t bytes, std::uint16_t descriptors) {
        stage_used(buffer, bytes, descriptors);
    });
    ++completed_;
}

void PackedRing::give_back(ChainId id) {
    const std::uint16_t descriptors = order_.give_back(id.value);
    held_ = static_cast<std::uint16_t>(held_ - descriptors);
    next_available_.retreat(descriptors, size_);
}

void PackedRing::stage_used(std::uint16_t id, std::uint32_t written, std::uint16_t descriptors) {
    // 2.8.3: WRITE in a used descriptor says that some of the buffer was written.
    const Tail used{
        written, id,
        static_cast<std::uint16_t>(packed::used_flags(next_used_.wrap) | (written != 0 ? descriptor_flag::write : 0U))};
    if (staged_ == 0) {
        first_staged_ = next_used_.slot;
        first_word_ = used.word();
    } else {
        std::byte* const at = ring_ + std::size_t{next_used_.slot} * descriptor_bytes + packed::tail_offset;
        store_word(at, used.word(), std::memory_order_release);
    }
    // The used descriptor stands for its whole chain: both sides skip the rest (2.8.6).
    next_used_.advance(descriptors, size_);
    held_ = static_cast<std::uint16_t>(held_ - descriptors);
    staged_ = static_cast<std::uint16_t>(staged_ + descriptors);
}

bool PackedRing::publish() {
    if (staged_ == 0)
        return false;
    const std::size_t first = std::size_t{first_staged_} * descriptor_bytes;
    store_word(ring_ + first + packed::tail_offset, first_word_, std::memory_order_release);

    const std::uint16_t count = staged_;
    staged_ = 0;
    if (first_staged_ + std::size_t{count} <= size_)
        memory_->wrote({registers_.descriptors.value + first}, descriptor_table_bytes(count));
    else
        memory_->wrote(registers_.descriptors, descriptor_table_bytes(size_));

    full_barrier();
    return EventSuppression::from(load_word<std::uint32_t>(driver_event_)).due(next_used_, count, size_, event_index_);
}

void PackedRing::want_kicks(bool want) {
    wants_kicks_ = want;
    if (want)
        return arm_kick();
    armed_at_.reset();
    store_word(device_event_, EventSuppression{{}, EventSuppression::disabled}.word());
    memory_->wrote(registers_.device, packed::event_suppression_bytes);
    full_barrier();
}

void PackedRing::arm_kick() {
    armed_at_ = next_available_;
    const std::uint16_t mode = event_index_ ? EventSuppression::at_descriptor : EventSuppression::enabled;
    store_word(device_event_, EventSuppression{next_available_, mode}.word());
    memory_->wrote(registers_.device, packed::event_suppression_bytes);
    full_barrier();
}

std::uint16_t PackedRing::available() {
    if (fault_)
        return 0;
    packed::Cursor at = next_available_;
    std::uint16_t chains = 0;
    bool head = true;
    for (unsigned seen = held_; seen < size_; ++seen) {
        const Tail tail = tail_at(at.slot);
        if (head && !packed::is_available(tail.flags, at.wrap))
            break;
        head = (tail.flags & descriptor_flag::next) == 0;
        chains = static_cast<std::uint16_t>(chains + (head ? 1U : 0U));
        at.advance(1, size_);
    }
    return chains;
}

} // namespace aerate::virtio
