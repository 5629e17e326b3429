// A hostile guest for the balloon: the input is a program of ring contents, kicks and config writes, mixed with what
// the host does meanwhile. Queues are small and memory has a hole, so that edges are near.
#include "balloon/balloon.hpp"
#include "balloon/counting_sink.hpp"
#include "base/check.hpp"
#include "base/endian.hpp"
#include "virtio/virtqueue.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace aerate::balloon {
namespace {

using namespace literals;

constexpr MemoryRegion low{{0}, 4_MiB};
constexpr MemoryRegion high{{8U << 20}, 2_MiB};
constexpr PageRange hole{{1024}, {1024}};
constexpr std::uint16_t ring_size = 8;
constexpr std::uint64_t ring_stride = 0x1000;
constexpr std::uint64_t driver_offset = 0x400;
constexpr std::uint64_t device_offset = 0x800;
constexpr std::uint64_t data_start = 0x8000;

class Input {
public:
    explicit Input(std::span<const std::uint8_t> bytes)
        : bytes_(bytes) {}
    [[nodiscard]] bool empty() const { return bytes_.empty(); }
    template <typename T>
    T take() {
        std::array<std::uint8_t, sizeof(T)> raw{};
        const std::size_t length = std::min(raw.size(), bytes_.size());
        std::ranges::copy(bytes_.first(length), raw.begin());
        bytes_ = bytes_.subspan(length);
        return load_little_endian<T>(std::as_bytes(std::span(raw)));
    }
    std::vector<std::byte> take_bytes(std::size_t most) {
        const auto taken = std::as_bytes(bytes_.first(std::min(most, bytes_.size())));
        bytes_ = bytes_.subspan(taken.size());
        return {taken.begin(), taken.end()};
    }

private:
    std::span<const std::uint8_t> bytes_;
};

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

/// Fails when a hint comes that must not.
class StrictSink final : public HintSink {
public:
    void hinted(PageRange range) override {
        CHECK(open);
        CHECK(hinting->tracker().phase == protocol::HintTracker::Phase::started);
        CHECK(hinting->tracker().guest_command == id.value);
        CHECK(range.count.value > 0 && (range.end() <= hole.first || range.first >= hole.end()));
        CHECK(range.end() <= FrameNumber{2560});
    }
    void round_ended(RoundEnd) override {
        CHECK(open);
        open = false;
    }
    const FreePageHinting* hinting = nullptr;
    CommandId id;
    bool open = false;
};

class Machine {
public:
    Machine(GuestMemory& memory, EventLoop& loop, const BalloonConfig& config)
        : memory_(memory)
        , balloon_(config, memory, loop) {
        sink_.hinting = &balloon_.hinting();
    }

    void run(Input& input) {
        start(input.take<std::uint8_t>());
        while (!input.empty())
            step(input);
        reset();
    }

private:
    void start(std::uint8_t choice) {
        constexpr std::array optional{feature::statistics, feature::free_page_hinting, feature::page_poison,
                                      feature::free_page_reporting};
        features_ = balloon_.offered_features().with(virtio::feature::version_1);
        for (std::size_t i = 0; i < optional.size(); ++i)
            if (((choice >> i) & 1U) != 0)
                features_ = features_.with(optional[i], false);
        features_ = features_.with(virtio::feature::ring_packed, (choice & 0x10U) != 0)
                        .with(virtio::feature::event_index, (choice & 0x20U) != 0)
                        .with(virtio::feature::indirect_descriptors, (choice & 0x40U) != 0);
        queues_.clear();
        std::vector<virtio::Virtqueue*> borrowed;
        for (std::size_t i = 0; i < balloon_.queue_sizes().size(); ++i) {
            const std::uint64_t base = i * ring_stride;
            CHECK(memory_.fill({base}, ByteCount{ring_stride}, std::byte{}));
            const virtio::QueueRegisters registers{
                ring_size, {base}, {base + driver_offset}, {base + device_offset}, true};
            CHECK(!virtio::check_registers(registers, ring_size, features_, memory_));
            queues_.push_back(virtio::make_virtqueue(registers, {}, features_, memory_));
            const bool enabled = (choice & 0x80U) != 0 || i < 2 + negotiated_queues();
            borrowed.push_back(enabled ? queues_.back().get() : nullptr);
        }
        host_.live = true;
        next_slot_ = {};
        balloon_.activate({.features = features_, .queues = borrowed, .host = &host_});
    }

    [[nodiscard]] std::size_t negotiated_queues() const {
        return std::size_t{features_.has(feature::statistics)} +
               std::size_t{features_.has(feature::free_page_hinting)} +
               std::size_t{features_.has(feature::free_page_reporting)};
    }

    void reset() {
        balloon_.reset();
        host_.live = false;
        host_.again.clear();
        CHECK(!sink_.open);
        CHECK(balloon_.memory_state().ballooned == PageCount{});
        queues_.clear();
    }

    void step(Input& input) {
        switch (input.take<std::uint8_t>() % 12) {
        case 0: { // anything anywhere
            const GuestAddress address{input.take<std::uint16_t>()};
            const auto length = input.take<std::uint8_t>();
            static_cast<void>(memory_.write(address, input.take_bytes(length)));
            break;
        }
        case 1:
        case 2:
        case 3:
            add_descriptor(input);
            break;
        case 4:
        case 5:
            kick(input.take<std::uint8_t>() % 6U);
            break;
        case 6: {
            const auto offset = input.take<std::uint8_t>();
            const auto length = input.take<std::uint8_t>() % 20U;
            balloon_.write_config(offset, input.take_bytes(length), features_);
            std::array<std::byte, 24> read{};
            balloon_.read_config(offset, read);
            break;
        }
        case 7:
            host_action(input.take<std::uint8_t>());
            break;
        case 8: // the current command ID, where a descriptor can point at it
            CHECK(memory_.store<std::uint32_t>({data_start}, balloon_.hinting().status().host_command));
            break;
        case 9:
            balloon_.pause([] {});
            paused_ = true;
            break;
        case 10:
            balloon_.resume();
            paused_ = false;
            break;
        default:
            reset();
            start(input.take<std::uint8_t>());
        }
        const PageStates& states = balloon_.page_states();
        CHECK(balloon_.memory_state().ballooned == states.ballooned.count());
        CHECK(states.ballooned.count(hole) == PageCount{} && states.reported.count(hole) == PageCount{});
    }

    /// A descriptor in the next slot, made available as the head of a chain if it is not the continuation of one.
    void add_descriptor(Input& input) {
        const auto queue = input.take<std::uint8_t>() % 5U;
        const auto flags = input.take<std::uint16_t>();
        const auto where = input.take<std::uint32_t>();
        const auto length = input.take<std::uint32_t>();
        const std::uint64_t base = queue * ring_stride;
        const std::uint16_t count = next_slot_[queue]++;
        const std::uint16_t slot = count % ring_size;
        std::array<std::byte, 16> descriptor{};
        const std::span<std::byte> bytes(descriptor);
        store_little_endian(bytes, std::uint64_t{where % (12U << 20)});
        store_little_endian(bytes.subspan(8), length % ((flags & 0x200U) != 0 ? 5U << 20 : 0x2000U));
        if (features_.has(virtio::feature::ring_packed)) {
            const bool wrap = (count / ring_size) % 2 == 0;
            const unsigned available = wrap ? 0x80U : 0x8000U;
            store_little_endian(bytes.subspan(12), slot);
            store_little_endian(bytes.subspan(14), static_cast<std::uint16_t>((flags & 7U) | available));
            CHECK(memory_.write({base + slot * 16U}, descriptor));
            return;
        }
        store_little_endian(bytes.subspan(12), static_cast<std::uint16_t>(flags & 7U));
        store_little_endian(bytes.subspan(14), static_cast<std::uint16_t>((slot + 1) % ring_size));
        CHECK(memory_.write({base + slot * 16U}, descriptor));
        const GuestAddress index{base + driver_offset + 2};
        const auto published = memory_.load<std::uint16_t>(index).value_or(0);
        CHECK(memory_.store<std::uint16_t>({base + driver_offset + 4 + (published % ring_size) * 2U}, slot));
        if ((flags & 0x100U) == 0)
            CHECK(memory_.store<std::uint16_t>(index, static_cast<std::uint16_t>(published + 1)));
    }

    void kick(unsigned queue) {
        const std::uint64_t hinted = balloon_.counters().hinted.value;
        balloon_.kicked({static_cast<std::uint16_t>(queue)});
        const auto again = std::exchange(host_.again, {});
        for (const auto index : again)
            balloon_.kicked(index);
        CHECK(!paused_ || balloon_.counters().hinted.value == hinted);
    }

    void host_action(unsigned action) {
        FreePageHinting& hinting = balloon_.hinting();
        switch (action % 6) {
        case 0:
        case 1: {
            const CommandId previous = sink_.id;
            const CommandId id = hinting.start(sink_, action % 6 == 0 ? OnGuestStop::hold : OnGuestStop::done);
            CHECK(id == CommandId{} || id > previous);
            sink_.open = id != CommandId{};
            sink_.id = std::max(id, previous);
            break;
        }
        case 2:
            sink_.open = false;
            hinting.stop();
            break;
        case 3:
            sink_.open = false;
            hinting.done();
            break;
        case 4:
            balloon_.statistics().request([](const Result<GuestStatistics>&) {});
            break;
        default:
            static_cast<void>(balloon_.set_target({action * 16U}));
        }
    }

    GuestMemory& memory_;
    Host host_;
    StrictSink sink_;
    std::vector<std::unique_ptr<virtio::Virtqueue>> queues_;
    virtio::FeatureSet features_;
    std::array<std::uint16_t, 5> next_slot_{};
    bool paused_ = false;
    Balloon balloon_;
};

} // namespace
} // namespace aerate::balloon

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace aerate;
    static auto memory = GuestMemory::create({.regions = {balloon::low, balloon::high}, .backing = Backing::anonymous});
    // Never run, so it would keep every cancelled timer if it lived longer.
    EventLoop loop;
    CHECK(memory.has_value());
    balloon::Input input({data, size});
    const auto config = input.take<std::uint8_t>();
    balloon::Machine machine(*memory, loop,
                             {.deflate_on_oom = (config & 1U) != 0,
                              .free_page_hinting = (config & 2U) == 0,
                              .free_page_reporting = (config & 4U) == 0,
                              .page_poison = (config & 8U) == 0,
                              .statistics = (config & 16U) == 0});
    machine.run(input);
    return 0;
}
