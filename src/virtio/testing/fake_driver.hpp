// A make-believe guest for tests of devices: true rings in true guest memory, and a host that writes down what it is
// told.
//
//     FakeDriver fake;
//     auto queue = fake.queue(256, packed_ring);
//     const auto token = queue.add({readable(bytes), writable(4096)});
//     device.kicked(...);                         // works on queue.device()
//     const auto used = queue.take_used();        // used->token == token, used->bytes: what the device wrote
#pragma once

#include "base/check.hpp"
#include "memory/guest_memory.hpp"
#include "virtio/device.hpp"
#include "virtio/driver_queue.hpp"
#include "virtio/virtqueue.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace aerate::virtio::testing {

/// Feature sets that tests are usually run with.
inline constexpr FeatureSet split_ring = FeatureSet{}.with(feature::version_1);
inline constexpr FeatureSet split_ring_with_events =
    split_ring.with(feature::event_index).with(feature::indirect_descriptors);
inline constexpr FeatureSet packed_ring = split_ring.with(feature::ring_packed);
inline constexpr FeatureSet packed_ring_with_events = split_ring_with_events.with(feature::ring_packed);

/// One buffer of a chain to add: bytes for the device, or room for it to write. Where `address` is set the buffer is
/// there, whatever is there; otherwise it is allocated.
struct FakeBuffer {
    std::vector<std::byte> bytes;
    std::uint32_t length{};
    bool device_writable = false;
    std::optional<GuestAddress> address = std::nullopt;
};

[[nodiscard]] inline FakeBuffer readable(std::span<const std::byte> bytes) {
    return {{bytes.begin(), bytes.end()}, static_cast<std::uint32_t>(bytes.size()), false};
}
/// The bytes of an integer or of another trivial value, such as an array of PFNs.
template <typename T>
    requires std::is_trivially_copyable_v<T> && (!std::convertible_to<T, std::span<const std::byte>>)
[[nodiscard]] FakeBuffer readable(const T& value) {
    return readable(std::as_bytes(std::span(&value, 1)));
}
[[nodiscard]] inline FakeBuffer writable(std::uint32_t length) {
    return {{}, length, true};
}
/// Buffers at an address of the test's choice, maybe outside RAM. Nothing is written there.
[[nodiscard]] inline FakeBuffer readable_at(GuestAddress address, std::uint32_t length) {
    return {{}, length, false, address};
}
[[nodiscard]] inline FakeBuffer writable_at(GuestAddress address, std::uint32_t length) {
    return {{}, length, true, address};
}

struct FakeUsed {
    std::uint32_t token{};
    std::uint32_t written{};
    std::vector<std::byte> bytes; ///< the chain's writable buffers, as they are now
};

/// Hands out guest memory, upwards, and never takes any back.
class BumpAllocator {
public:
    BumpAllocator(GuestMemory& memory, MemoryRegion region)
        : memory_(&memory)
        , next_(region.start.value)
        , end_(region.start.value + region.length.value) {}

    /// REQUIRES: `alignment` is a power of two, and there is enough left.
    [[nodiscard]] GuestAddress allocate(ByteCount length, std::uint64_t alignment = 16) {
        const std::uint64_t start = (next_ + alignment - 1) & ~(alignment - 1);
        CHECK(start + length.value <= end_);
        next_ = start + length.value;
        return {start};
    }
    [[nodiscard]] RingMemory allocate_ring(ByteCount length) {
        const auto guest = allocate(length, page_size.value);
        const auto host = memory_->span(guest, length);
        CHECK(host.has_value());
        return {host->data(), guest};
    }
    [[nodiscard]] GuestMemory& memory() { return *memory_; }

private:
    GuestMemory* memory_;
    std::uint64_t next_;
    std::uint64_t end_;
};

/// Both halves of one queue.
class FakeQueue {
    template <typename F>
    auto visit(F f) {
        return std::visit(f, driver_);
    }

public:
    FakeQueue(BumpAllocator& allocator, std::uint16_t size, FeatureSet features)
        : allocator_(&allocator)
        , features_(features)
        , slots_(std::make_unique<DriverSlot[]>(size))
        , driver_(make_driver(allocator, {slots_.get(), size}, features))
        , device_(make_virtqueue(registers(), {}, features, allocator.memory())) {}

    /// Adds and publishes one chain; its token is returned, and counts up from 0. REQUIRES: the ring has room.
    std::uint32_t add(std::initializer_list<FakeBuffer> chain) { return add(std::span(chain.begin(), chain.size())); }
    std::uint32_t add(std::span<const FakeBuffer> chain) {
        std::vector<DriverBuffer> buffers;
        for (const FakeBuffer& buffer : chain) {
            const auto address = buffer.address ? *buffer.address : allocator_->allocate({buffer.length});
            if (!buffer.bytes.empty())
                CHECK(allocator_->memory().write(address, buffer.bytes));
            buffers.push_back({address, buffer.length, buffer.device_writable});
        }
        const bool added = visit([&](auto& driver) { return driver.add(buffers, next_token_); });
        CHECK(added);
        kick_wanted_ = publish();
        chains_[next_token_] = std::move(buffers);
        return next_token_++;
    }
    /// Returns whether the device wanted a kick for the last add().
    [[nodiscard]] bool kick_wanted() const { return kick_wanted_; }
    [[nodiscard]] bool publish() {
        return visit([](auto& driver) { return driver.publish(); });
    }
    [[nodiscard]] std::uint16_t free_slots() const {
        return std::visit([](const auto& driver) { return driver.free_slots(); }, driver_);
    }
    void want_interrupts(bool want) {
        visit([&](auto& driver) { driver.want_interrupts(want); });
    }

    [[nodiscard]] std::optional<FakeUsed> take_used() {
        const auto used = visit([](auto& driver) { return driver.take_used(); });
        if (!used)
            return std::nullopt;
        FakeUsed result{used->token, used->written, {}};
        for (const DriverBuffer& buffer : chains_[used->token]) {
            if (!buffer.device_writable || !allocator_->memory().contains(buffer.address, {buffer.length}))
                continue;
            const std::size_t start = result.bytes.size();
            result.bytes.resize(start + buffer.length);
            CHECK(allocator_->memory().read(buffer.address, std::span(result.bytes).subspan(start)));
        }
        chains_.erase(used->token);
        return result;
    }

    [[nodiscard]] Virtqueue& device() { return *device_; }
    /// Makes the device's half anew, at a position: what a restore does.
    void remake_device(QueuePosition position) {
        device_ = make_virtqueue(registers(), position, features_, allocator_->memory());
    }
    [[nodiscard]] QueueRegisters registers() const {
        return std::visit([](const auto& driver) { return driver.registers(); }, driver_);
    }
    /// The driver's half itself, SplitDriver or PackedDriver. REQUIRES: the features say so.
    template <typename Driver>
    [[nodiscard]] Driver& driver() {
        return *std::get_if<Driver>(&driver_);
    }

private:
    using Driver = std::variant<SplitDriver, PackedDriver>;
    [[nodiscard]] static Driver make_driver(BumpAllocator& allocator, std::span<DriverSlot> slots,
                                            FeatureSet features) {
        const auto size = static_cast<std::uint16_t>(slots.size());
        const DriverOptions options{.event_index = features.has(feature::event_index)};
        if (features.has(feature::ring_packed))
            return PackedDriver(allocator.allocate_ring(PackedDriver::ring_bytes(size)), slots, options);
        return SplitDriver(allocator.allocate_ring(SplitDriver::ring_bytes(size)), slots, options);
    }

    BumpAllocator* allocator_;
    FeatureSet features_;
    std::unique_ptr<DriverSlot[]> slots_;
    Driver driver_;
    std::unique_ptr<Virtqueue> device_;
    std::unordered_map<std::uint32_t, std::vector<DriverBuffer>> chains_;
    std::uint32_t next_token_ = 0;
    bool kick_wanted_ = false;
};

/// Guest memory with a hole in it: 16 MiB at 0 (rings and buffers are allocated from its second MiB on), 16 MiB at 4
/// GiB.
class FakeDriver {
public:
    static constexpr MemoryRegion low{{0}, {16U << 20}};
    static constexpr MemoryRegion high{{4ULL << 30}, {16U << 20}};

    FakeDriver()
        : memory_(make_memory())
        , allocator_(std::make_unique<BumpAllocator>(*memory_, MemoryRegion{{1U << 20}, {15U << 20}})) {}

    [[nodiscard]] GuestMemory& memory() { return *memory_; }
    [[nodiscard]] BumpAllocator& allocator() { return *allocator_; }
    [[nodiscard]] GuestAddress allocate(ByteCount length, std::uint64_t alignment = 16) {
        return allocator_->allocate(length, alignment);
    }
    /// The queue borrows this guest.
    [[nodiscard]] FakeQueue queue(std::uint16_t size, FeatureSet features) { return {*allocator_, size, features}; }

private:
    [[nodiscard]] static std::unique_ptr<GuestMemory> make_memory() {
        auto memory = GuestMemory::create({.regions = {low, high}, .backing = Backing::anonymous});
        CHECK(memory.has_value());
        return std::make_unique<GuestMemory>(*std::move(memory));
    }
    std::unique_ptr<GuestMemory> memory_;
    std::unique_ptr<BumpAllocator> allocator_;
};

/// A transport that writes down what its device tells it.
class FakeHost final : public DeviceHost {
public:
    struct Fault {
        QueueIndex queue;
        std::string what;
    };
    std::vector<QueueIndex> interrupts;
    std::vector<QueueIndex> kicks_again;
    std::vector<Fault> faults;
    unsigned config_changes = 0;

    void interrupt_queue(QueueIndex queue) override { interrupts.push_back(queue); }
    void config_changed() override { ++config_changes; }
    void kick_again(QueueIndex queue) override { kicks_again.push_back(queue); }
    void needs_reset(QueueIndex queue, std::string_view what) override { faults.push_back({queue, std::string(what)}); }
};

} // namespace aerate::virtio::testing
