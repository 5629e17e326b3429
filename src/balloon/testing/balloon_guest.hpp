// A guest with a balloon driver made of fake queues, laid out as Linux does (compact).
#pragma once

#include "balloon/balloon.hpp"
#include "base/endian.hpp"
#include "virtio/testing/fake_driver.hpp"

#include <chrono>
#include <initializer_list>
#include <memory>
#include <optional>
#include <vector>

namespace aerate::balloon::testing {

using namespace virtio::testing;

inline constexpr BalloonConfig everything{.free_page_hinting = true, .free_page_reporting = true};

struct BalloonGuest {
    explicit BalloonGuest(const BalloonConfig& config = everything)
        : balloon(config, fake.memory(), loop) {}

    /// DRIVER_OK with these features, or all that are offered.
    void start() { start(balloon.offered_features()); }
    void start(virtio::FeatureSet features, virtio::FeatureSet ring = split_ring) {
        negotiated = {features.bits | ring.bits};
        layout = detail::positions_among(negotiated, negotiated);
        queues.clear();
        queues.resize(balloon.queue_sizes().size());
        std::vector<virtio::Virtqueue*> devices(queues.size());
        for (const auto& index : layout) {
            if (!index)
                continue;
            auto& queue = queues[index->value];
            queue = std::make_unique<FakeQueue>(fake.allocator(), balloon.queue_sizes()[index->value], ring);
            devices[index->value] = &queue->device();
        }
        balloon.activate({.features = negotiated, .queues = devices, .host = &host});
    }

    [[nodiscard]] virtio::QueueIndex index(Queue kind) const { return *layout[static_cast<std::size_t>(kind)]; }
    [[nodiscard]] FakeQueue& queue(Queue kind) { return *queues[index(kind).value]; }
    void add(Queue kind, std::initializer_list<FakeBuffer> chain) { queue(kind).add(chain); }
    void kick(Queue kind) { balloon.kicked(index(kind)); }
    /// Adds, kicks, and takes the buffer back: what it says it was written to, or nothing if it did not come back.
    std::optional<std::uint32_t> send(Queue kind, std::initializer_list<FakeBuffer> chain) {
        add(kind, chain);
        kick(kind);
        const auto used = queue(kind).take_used();
        return used ? std::optional(used->written) : std::nullopt;
    }

    void fill(PageRange range) {
        CHECK(fake.memory().fill(address_of(range.first), bytes_of(range.count), std::byte{0xaa}));
    }
    /// The first byte of a page: 0xaa after fill(), 0 after a discard.
    [[nodiscard]] unsigned first_byte(FrameNumber frame) {
        std::array<std::byte, 1> byte{};
        CHECK(fake.memory().read(address_of(frame), byte));
        return std::to_integer<unsigned>(byte[0]);
    }
    [[nodiscard]] std::uint32_t config(std::uint32_t offset) {
        std::array<std::byte, 4> bytes{};
        balloon.read_config(offset, bytes);
        return load_little_endian<std::uint32_t>(bytes);
    }
    void write_config(std::uint32_t offset, std::uint32_t value) {
        std::array<std::byte, 4> bytes{};
        store_little_endian(bytes, value);
        balloon.write_config(offset, bytes, negotiated);
    }
    void run_loop(std::chrono::milliseconds time) {
        const auto end = loop.after(time, [this] { loop.stop(); });
        loop.run();
    }
    /// Turns the loop until `condition` holds. Returns false if it does not within 20 s.
    template <typename Condition>
    [[nodiscard]] bool run_until(Condition condition) {
        const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        bool holds = false;
        const auto look = loop.every(std::chrono::milliseconds(1), [&] {
            holds = condition();
            if (holds || std::chrono::steady_clock::now() > until)
                loop.stop();
        });
        loop.run();
        return holds;
    }
    [[nodiscard]] std::uint64_t skips(SkipReason reason) const { return balloon.counters().skips(reason); }

    FakeDriver fake;
    EventLoop loop;
    FakeHost host;
    Balloon balloon;
    virtio::FeatureSet negotiated;
    QueueLayout layout;
    std::vector<std::unique_ptr<FakeQueue>> queues;
};

[[nodiscard]] inline FakeBuffer frames(std::initializer_list<std::uint32_t> list) {
    return readable(std::as_bytes(std::span(list.begin(), list.size())));
}

} // namespace aerate::balloon::testing
