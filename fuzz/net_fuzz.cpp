// A hostile guest for the network card: the input is a program of ring contents, kicks, frames that come and moments at
// which the back end is full or gone. Queues are small and memory has a hole, so that edges are near.
#include "base/check.hpp"
#include "base/endian.hpp"
#include "net/net.hpp"
#include "net/testing/fake_back_end.hpp"
#include "script.hpp"
#include "virtio/ring_layout.hpp"

#include <boost/asio/io_context.hpp>

#include <array>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace aerate::net {
namespace {

using fuzz::Script;

constexpr MemoryRegion low{{0}, {4U << 20}};
constexpr MemoryRegion high{{8U << 20}, {2U << 20}};
constexpr std::uint16_t ring_size = 8;
constexpr unsigned rings = 5; // of two pairs, with the control queue
constexpr std::uint64_t ring_stride = 0x1000;
constexpr std::uint64_t driver_offset = 0x400;
constexpr std::uint64_t device_offset = 0x800;
constexpr std::uint64_t data_start = 0x8000;

class Host final : public virtio::DeviceHost {
public:
    void interrupt_queue(virtio::QueueIndex) override { CHECK(live); }
    void config_changed() override { CHECK(live); }
    void kick_again(virtio::QueueIndex queue) override {
        CHECK(live);
        again.push_back(queue);
    }
    void needs_reset(virtio::QueueIndex, std::string_view) override { CHECK(live); }
    bool live = false;
    std::vector<virtio::QueueIndex> again;
};

class Fuzzed {
public:
    explicit Fuzzed(Script script)
        : script_(script) {
        back_end_->can_offload = script_.below(2) == 0;
        const protocol::RateLimits limits{.bandwidth =
                                              protocol::TokenBucketLimit{200'000, 0, std::chrono::seconds(60)}};
        NetOptions options{.mac = {2, 0, 0, 0, 0, 1}};
        options.drop_spoofed = script_.below(2) == 0;
        if (script_.below(4) == 0)
            options.receive = options.transmit = limits;
        card_ = *Net::create(loop_, *memory_, {back_end_, second_}, "eth0", options);
    }
    ~Fuzzed() { reset(); }
    Fuzzed(const Fuzzed&) = delete;
    Fuzzed& operator=(const Fuzzed&) = delete;

    void run() {
        activate();
        for (int step = 0; step < 400 && !script_.ended(); ++step)
            take_step();
    }

private:
    void take_step() {
        switch (script_.below(12)) {
        case 0:
            return write_descriptor();
        case 1:
        case 2:
            return make_available();
        case 3:
            return write_bytes();
        case 4:
        case 5:
            card_->kicked({static_cast<std::uint16_t>(script_.below(rings + 1))});
            return turn();
        case 6: {
            auto frame = testing::make_frame(script_.take<std::uint16_t>() % 65551U);
            frame.resize(script_.below(8) == 0 ? script_.below(16) : frame.size());
            (script_.below(2) == 0 ? back_end_ : second_)->give(std::move(frame));
            return turn();
        }
        case 7:
            second_->refuses_use = script_.below(8) == 0;
            if (script_.below(4) == 0)
                return (script_.below(2) == 0 ? back_end_ : second_)->be_full();
            back_end_->make_room();
            back_end_->send_outcome = script_.one_of({Outcome::done, Outcome::dropped, Outcome::gone});
            return;
        case 8:
            back_end_->make_room();
            second_->make_room();
            return turn();
        case 9:
            return pause_and_resume();
        case 10:
            if (script_.below(4) == 0) {
                reset();
                activate();
            }
            return;
        default:
            card_->announce();
            std::array<std::byte, 16> config;
            card_->read_config(script_.below(32), config);
        }
    }
    /// Saves what it is saved as, and restores it, which a hostile guest's own state never keeps from working.
    void pause_and_resume() {
        bool quiet = false;
        card_->pause([&] { quiet = true; });
        CHECK(quiet);
        for (const auto& ring : rings_)
            CHECK(ring == nullptr || ring->in_flight() == 0);
        CHECK(card_->restore(card_->save()).has_value());
        if (script_.below(2) == 0)
            card_->change_limits({}, {.bandwidth = protocol::TokenBucketLimit{}});
        card_->resume();
        turn();
    }
    void turn() {
        for (int i = 0; i < 4; ++i) {
            loop_.context().restart();
            (void)loop_.context().poll();
            for (const virtio::QueueIndex queue : std::exchange(host_.again, {}))
                card_->kicked(queue);
        }
    }

    static GuestAddress ring_at(unsigned queue) { return {0x1000 + queue * ring_stride}; }
    GuestAddress some_address() {
        switch (script_.below(6)) {
        case 0:
            return {script_.take<std::uint64_t>()};
        case 1: // about the hole
            return {low.length.value - 32 + script_.below(64)};
        case 2:
            return {high.start.value + high.length.value - script_.below(64)};
        default:
            return {data_start + script_.take<std::uint16_t>()};
        }
    }
    void write_descriptor() {
        std::array<std::byte, 16> bytes{};
        const std::span all(bytes);
        store_little_endian(all, some_address().value);
        const std::uint32_t length =
            script_.below(4) == 0 ? script_.take<std::uint32_t>() : script_.take<std::uint16_t>() % 2048U;
        store_little_endian(all.subspan(8), length);
        store_little_endian(all.subspan(12), static_cast<std::uint16_t>(script_.below(8)));
        store_little_endian(all.subspan(14), static_cast<std::uint16_t>(script_.below(ring_size + 1)));
        const GuestAddress at = ring_at(script_.below(rings));
        (void)memory_->write({at.value + script_.below(ring_size) * 16}, bytes);
    }
    void make_available() {
        const unsigned queue = script_.below(rings);
        const std::uint64_t ring = ring_at(queue).value + driver_offset;
        std::uint16_t& index = available_[queue];
        std::array<std::byte, 2> bytes{};
        for (unsigned count = script_.below(4) + 1; count > 0; --count) {
            store_little_endian(std::span<std::byte>(bytes), static_cast<std::uint16_t>(script_.below(ring_size)));
            (void)memory_->write({ring + 4 + 2 * (index++ % ring_size)}, bytes);
        }
        if (script_.below(64) == 0)
            index = script_.take<std::uint16_t>();
        store_little_endian(std::span<std::byte>(bytes), index);
        (void)memory_->write({ring + 2}, bytes);
    }
    void write_bytes() {
        std::array<std::byte, 32> bytes{};
        for (std::byte& byte : bytes)
            byte = std::byte{script_.take<std::uint8_t>()};
        if (script_.below(4) == 0)
            bytes = {std::byte{4}, std::byte{0}, bytes[2] & std::byte{3}}; // so many pairs
        (void)memory_->write({data_start + script_.take<std::uint16_t>()}, bytes);
    }

    void activate() {
        const virtio::FeatureSet ring = virtio::FeatureSet{}
                                            .with(virtio::feature::version_1)
                                            .with(virtio::feature::event_index, script_.below(2) == 0)
                                            .with(virtio::feature::indirect_descriptors);
        virtio::FeatureSet accepted{card_->offered_features().bits & ~(script_.below(2) == 0 ? 0ULL : 1ULL << 15) &
                                    ~(script_.below(4) == 0 ? 1ULL << feature::multi_queue : 0ULL)};
        accepted.bits |= ring.bits;
        std::array<virtio::Virtqueue*, rings> queues{};
        for (unsigned i = 0; i < rings; ++i) {
            (void)memory_->fill(ring_at(i), {ring_stride}, std::byte{0});
            available_[i] = 0;
            const virtio::QueueRegisters registers{.size = ring_size,
                                                   .descriptors = ring_at(i),
                                                   .driver = {ring_at(i).value + driver_offset},
                                                   .device = {ring_at(i).value + device_offset},
                                                   .ready = true};
            rings_[i] = virtio::make_virtqueue(registers, {}, accepted, *memory_);
            queues[i] = rings_[i].get();
        }
        host_.live = true;
        card_->activate({accepted, queues, &host_});
    }
    void reset() {
        card_->reset();
        host_.live = false;
        host_.again.clear();
        for (auto& ring : rings_)
            ring.reset();
    }

    Script script_;
    EventLoop loop_;
    Host host_;
    std::unique_ptr<GuestMemory> memory_ =
        std::make_unique<GuestMemory>(*GuestMemory::create({.regions = {low, high}, .backing = Backing::anonymous}));
    std::shared_ptr<testing::FakeBackEnd> back_end_ = std::make_shared<testing::FakeBackEnd>();
    std::shared_ptr<testing::FakeBackEnd> second_ = std::make_shared<testing::FakeBackEnd>(false);
    std::unique_ptr<Net> card_;
    std::array<std::unique_ptr<virtio::Virtqueue>, rings> rings_;
    std::array<std::uint16_t, rings> available_{};
};

} // namespace
} // namespace aerate::net

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    aerate::net::Fuzzed(aerate::fuzz::Script(data, size)).run();
    return 0;
}
