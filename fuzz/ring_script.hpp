// A script of a driver, a device and a vandal who writes into the ring between any two of their steps. Whatever the
// bytes, the device's half keeps its promises: chains within bounds, none held twice, never more in flight than the
// ring is long, faults that last, and no access outside guest memory (which the sanitizers watch).
#pragma once

#include "base/check.hpp"
#include "script.hpp"
#include "virtio/driver_queue.hpp"
#include "virtio/ring_layout.hpp"
#include "virtio/testing/raw_ring.hpp"
#include "virtio/virtqueue.hpp"

#include <sanitizer/asan_interface.h>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace aerate::fuzz {

using namespace virtio;

/// 2 MiB at 0 and at 4 MiB, with a hole between.
inline GuestMemory& fuzz_memory() {
    static GuestMemory memory =
        GuestMemory::create({.regions = {{{0}, {2U << 20}}, {{4U << 20}, {2U << 20}}}, .backing = Backing::anonymous})
            .value();
    return memory;
}
inline constexpr GuestAddress table_area{0x8000};
inline constexpr GuestAddress ring_area{0x10000};
/// What follows the ring, as far as a 16-bit index reaches, is poisoned: RAM of the guest's, but none of the ring's
/// business. Not with indirect tables, which may lie there.
inline constexpr std::size_t index_reach = 65536 * descriptor_bytes;
inline constexpr std::uint32_t table_entries = 64;
inline constexpr std::uint64_t interesting_addresses[] = {
    0, ring_area.value, table_area.value, table_area.value + 1, (2U << 20) - 16, 2U << 20, 4U << 20, ~0ULL - 15, ~0ULL};
inline constexpr std::uint32_t interesting_lengths[] = {0, 1, 15, 16, 32, 64, 1024, 1U << 20, 0xffff'fff0, 0xffff'ffff};

template <typename Driver>
class RingScript {
public:
    RingScript(Script script, std::uint16_t size, FeatureSet features)
        : script_(script)
        , size_(size)
        , slots_(size)
        , driver_(make_driver(slots_, features))
        , device_(make_virtqueue(driver_.registers(), {}, features, fuzz_memory()))
        , features_(features) {
        CHECK(!check_registers(driver_.registers(), size, features, fuzz_memory()));
        if (!features.has(feature::indirect_descriptors))
            ASAN_POISON_MEMORY_REGION(after_ring(), index_reach);
        CHECK(fuzz_memory().fill(table_area, {table_entries * descriptor_bytes}, std::byte{0}));
    }

    ~RingScript() { ASAN_UNPOISON_MEMORY_REGION(after_ring(), index_reach); }
    RingScript(const RingScript&) = delete;
    RingScript& operator=(const RingScript&) = delete;

    void run() {
        for (unsigned steps = 0; steps < 4096 && !script_.ended(); ++steps) {
            step();
            CHECK(device_->in_flight() == held_.size() && held_.size() <= size_);
            CHECK(device_->available() <= size_);
            CHECK(!check_position(driver_.registers(), device_->position(), features_));
        }
    }

private:
    [[nodiscard]] static Driver make_driver(std::span<DriverSlot> slots, FeatureSet features) {
        const auto host = fuzz_memory().span(ring_area, Driver::ring_bytes(static_cast<std::uint16_t>(slots.size())));
        return Driver({host->data(), ring_area}, slots, {.event_index = features.has(feature::event_index)});
    }

    [[nodiscard]] std::byte* after_ring() const {
        return fuzz_memory().span(ring_area, {1})->data() + Driver::ring_bytes(size_).value;
    }

    void step() {
        switch (script_.below(12)) {
        case 0:
            return add();
        case 1:
            (void)driver_.publish();
            return;
        case 2:
        case 3:
            return pop();
        case 4:
            if (!held_.empty()) {
                const auto chosen =
                    held_.begin() + static_cast<std::ptrdiff_t>(script_.take<std::uint8_t>() % held_.size());
                device_->complete(*chosen, script_.take<std::uint16_t>());
                held_.erase(chosen);
            }
            return;
        case 5:
            (void)device_->publish();
            return;
        case 6:
            (void)driver_.take_used();
            return;
        case 7:
            device_->want_kicks(script_.below(2) == 0);
            driver_.want_interrupts(script_.below(2) == 0);
            return;
        case 8: // any 16 bits of the ring
            return testing::poke(
                fuzz_memory(),
                {ring_area.value + script_.take<std::uint16_t>() % (Driver::ring_bytes(size_).value - 1)},
                script_.take<std::uint16_t>());
        case 9: // a descriptor of the ring
            return poke_descriptor({ring_area.value + descriptor_bytes * script_.below(size_)});
        case 10: // an entry of an indirect table
            return poke_descriptor({table_area.value + descriptor_bytes * script_.below(table_entries)});
        default: // the available index of a split ring, a little off
            const GuestAddress at{driver_.registers().driver.value + split::index};
            const auto index = testing::peek<std::uint16_t>(fuzz_memory(), at);
            return testing::poke(fuzz_memory(), at,
                                 static_cast<std::uint16_t>(index + script_.take<std::uint8_t>() - 128U));
        }
    }

    void add() {
        std::array<DriverBuffer, 4> buffers;
        const std::size_t count = 1 + script_.below(buffers.size());
        const unsigned first_writable = script_.below(5);
        for (unsigned i = 0; i < count; ++i)
            buffers[i] = {
                {script_.one_of(interesting_addresses)}, script_.one_of(interesting_lengths), i >= first_writable};
        const std::span<const DriverBuffer> chain(buffers.data(), count);
        if (script_.below(4) != 0) {
            (void)driver_.add(chain, 0);
            return;
        }
        const auto table = fuzz_memory().span(table_area, {sizeof(SplitDescriptor) * buffers.size()});
        (void)driver_.add_indirect(chain, {table->data(), table_area}, 0);
    }

    /// Mostly an index or ID near the ring's size, and flags that have a meaning; at times any 16 bits.
    void poke_descriptor(GuestAddress at) {
        const std::uint64_t address = script_.one_of(interesting_addresses);
        const std::uint32_t length = script_.one_of(interesting_lengths);
        const std::uint8_t shape = script_.take<std::uint8_t>();
        const bool odd = (shape & 0x80) != 0;
        const std::uint16_t index =
            odd ? script_.take<std::uint16_t>() : static_cast<std::uint16_t>(script_.below(size_ + 1U));
        const auto flags = odd ? script_.take<std::uint16_t>()
                               : static_cast<std::uint16_t>((shape & 7U) | (shape & 8U) << 4 | (shape & 16U) << 11);
        if constexpr (std::same_as<Driver, SplitDriver>)
            testing::poke(fuzz_memory(), at, SplitDescriptor{address, length, flags, index});
        else
            testing::poke(fuzz_memory(), at, PackedDescriptor{address, length, index, flags});
    }

    void pop() {
        const auto chain = device_->pop();
        if (!chain) {
            CHECK(device_->fault() == chain.error() && (!fault_ || *fault_ == chain.error()));
            fault_ = chain.error();
            return;
        }
        CHECK(!fault_);
        if (!*chain)
            return;
        const DescriptorChain& taken = **chain;
        CHECK(taken.id.value < size_);
        CHECK(std::ranges::find(held_, taken.id) == held_.end());
        CHECK(taken.readable.size() + taken.writable.size() - 1 < size_);
        std::uint64_t bytes = 0;
        for (const auto buffers : {taken.readable, taken.writable})
            for (const Buffer& buffer : buffers)
                bytes += buffer.length;
        CHECK(bytes <= 1ULL << 32);
        held_.push_back(taken.id);
    }

    Script script_;
    std::uint16_t size_;
    std::vector<DriverSlot> slots_;
    Driver driver_;
    std::unique_ptr<Virtqueue> device_;
    FeatureSet features_;
    std::vector<ChainId> held_;
    std::optional<RingFault> fault_;
};

[[nodiscard]] inline FeatureSet ring_features(Script& script) {
    const std::uint8_t bits = script.take<std::uint8_t>();
    return FeatureSet{}
        .with(feature::version_1)
        .with(feature::event_index, (bits & 1) != 0)
        .with(feature::indirect_descriptors, (bits & 2) != 0);
}

} // namespace aerate::fuzz
