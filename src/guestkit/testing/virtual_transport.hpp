// A transport between the driver and a true device half, both in this process: guestkit's balloon driver on one side,
// aerate's balloon on the other, guest memory between them.
#pragma once

#include "balloon/balloon.hpp"
#include "base/check.hpp"
#include "base/endian.hpp"
#include "guestkit/balloon_driver.hpp"
#include "virtio/testing/fake_driver.hpp"

#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

namespace aerate::guestkit::testing {

/// Satisfies guestkit::Transport. Kicks are kept until the test lets the device run, so that it decides who goes first.
class VirtualTransport {
public:
    VirtualTransport(virtio::Device& device, GuestMemory& memory, virtio::FeatureSet ring)
        : device_(&device)
        , memory_(&memory)
        , offered_({device.offered_features().bits | ring.bits})
        , registers_(device.queue_sizes().size()) {}

    std::optional<virtio::FeatureSet> negotiate(virtio::FeatureSet wanted) {
        device_->reset();
        std::ranges::fill(registers_, virtio::QueueRegisters{});
        negotiated_ = {offered_.bits & wanted.bits};
        return negotiated_;
    }
    std::uint16_t max_queue_size(std::uint16_t queue) {
        return queue < registers_.size() ? device_->queue_sizes()[queue] : std::uint16_t{0};
    }
    bool set_queue(std::uint16_t queue, const virtio::QueueRegisters& registers) {
        if (virtio::check_registers(registers, max_queue_size(queue), negotiated_, *memory_))
            return false;
        registers_[queue] = registers;
        return true;
    }
    void start() {
        rings_.clear();
        std::vector<virtio::Virtqueue*> queues;
        for (const auto& registers : registers_) {
            rings_.push_back(registers.ready ? virtio::make_virtqueue(registers, {}, negotiated_, *memory_) : nullptr);
            queues.push_back(rings_.back().get());
        }
        device_->activate({.features = negotiated_, .queues = queues, .host = &host});
    }
    std::uint32_t read_config(std::uint32_t offset) {
        std::array<std::byte, 4> bytes{};
        device_->read_config(offset, bytes);
        return load_little_endian<std::uint32_t>(bytes);
    }
    void write_config(std::uint32_t offset, std::uint32_t value) {
        std::array<std::byte, 4> bytes{};
        store_little_endian(bytes, value);
        device_->write_config(offset, bytes, negotiated_);
    }
    void kick(std::uint16_t queue) { kicks.push_back(queue); }
    std::byte* page(FrameNumber frame) {
        const auto span = memory_->span(address_of(frame), page_size);
        CHECK(span.has_value());
        return span->data();
    }

    /// The device serves what it was kicked for.
    void run_device() {
        while (!kicks.empty()) {
            const std::uint16_t queue = kicks.front();
            kicks.pop_front();
            device_->kicked({queue});
        }
    }

    virtio::testing::FakeHost host;
    std::deque<std::uint16_t> kicks;

private:
    virtio::Device* device_;
    GuestMemory* memory_;
    virtio::FeatureSet offered_;
    virtio::FeatureSet negotiated_;
    std::vector<virtio::QueueRegisters> registers_;
    std::vector<std::unique_ptr<virtio::Virtqueue>> rings_;
};

inline constexpr ByteCount guest_ram{128U << 20};

/// A guest of guestkit with a balloon, on 128 MiB.
template <typename Ring = virtio::SplitDriver>
class VirtualGuest {
public:
    using Driver = BalloonDriver<Ring, VirtualTransport>;

    explicit VirtualGuest(BalloonOptions options = {},
                          const balloon::BalloonConfig& config = {.free_page_hinting = true,
                                                                  .free_page_reporting = true},
                          virtio::FeatureSet ring = virtio::testing::split_ring_with_events)
        : memory_(make_memory())
        , balloon(config, *memory_, loop)
        , transport(balloon, *memory_, ring)
        , records_(whole_pages_of(guest_ram).value)
        , zone({{0}, whole_pages_of(guest_ram)}, records_, {.min = {512}, .low = {1024}}) {
        zone.add(zone.frames());
        const auto arena = allocator.allocate(arena_order);
        CHECK(arena.has_value());
        options.features.bits |= 1U << balloon::feature::page_poison;
        driver = Driver::start(transport, allocator,
                               Arena({transport.page(*arena), address_of(*arena)}, bytes_of(pages_of(arena_order))),
                               options);
    }

    /// Both sides, until neither has anything to do.
    void run() {
        for (unsigned idle = 0; idle < 4; ++idle) {
            if (transport.host.config_changes != seen_changes_) {
                seen_changes_ = transport.host.config_changes;
                driver->config_changed();
                idle = 0;
            }
            driver->poll();
            if (!transport.kicks.empty())
                idle = 0;
            transport.run_device();
        }
    }
    void config_changed() { driver->config_changed(); }
    [[nodiscard]] GuestMemory& memory() { return *memory_; }

private:
    static constexpr Order arena_order{5};
    std::unique_ptr<GuestMemory> memory_;
    unsigned seen_changes_ = 0;

public:
    EventLoop loop;
    balloon::Balloon balloon;
    VirtualTransport transport;

private:
    [[nodiscard]] static std::unique_ptr<GuestMemory> make_memory() {
        auto memory = GuestMemory::create({.regions = {{{0}, guest_ram}}, .backing = Backing::anonymous});
        CHECK(memory.has_value());
        return std::make_unique<GuestMemory>(*std::move(memory));
    }
    std::vector<FrameRecord> records_;

public:
    Zone zone;
    BuddyAllocator allocator{{&zone, 1}};
    std::optional<Driver> driver;
};

} // namespace aerate::guestkit::testing
