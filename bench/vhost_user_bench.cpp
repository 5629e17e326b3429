// Reports and hints a second: our device in the monitor's own process (virtio-mmio), and the same behind vhost-user. In
// both the driver is one thread and the device another, and they wake each other by eventfds; guest memory is a memfd.
// Argument: chains a kick. The last rows print the ratio.
#include "base/endian.hpp"
#include "vhost_user/testing/served.hpp"
#include "virtio/mmio_registers.hpp"
#include "virtio/mmio_transport.hpp"

#include <benchmark/benchmark.h>

#include <chrono>

namespace aerate::vhost_user {
namespace {

using namespace testing;
using namespace literals;
using virtio::DriverBuffer;

constexpr std::uint16_t ring_size = 256;

/// Where hints and reports go, and how the other side is woken.
class Rig {
public:
    virtual ~Rig() = default;
    virtual DriverRing& ring(Ring) = 0;
    virtual void kick(Ring) = 0;
    virtual int interrupt(Ring) = 0;
    virtual std::byte* at(std::uint64_t address) = 0;
    virtual std::uint64_t start_hinting() = 0;
    virtual void stop_hinting() = 0;

    void send(Ring index, std::span<const DriverBuffer> buffers) {
        DriverRing& queue = ring(index);
        for (const DriverBuffer& buffer : buffers)
            CHECK(queue.add({&buffer, 1}));
        if (queue.publish())
            kick(index);
        for (std::size_t left = buffers.size(); left > 0;) {
            if (queue.take_used()) {
                --left;
                continue;
            }
            pollfd poll{.fd = interrupt(index), .events = POLLIN, .revents = 0};
            CHECK(::poll(&poll, 1, 5000) == 1);
            std::uint64_t count = 0;
            (void)!::read(poll.fd, &count, sizeof count);
        }
    }
};

class OverVhostUser final : public Rig {
public:
    OverVhostUser() {
        CHECK(served_.front->negotiate(split_guest) && served_.front->share_memory({&served_.ram}) == true);
        served_.front->make_rings(served_.ram, 5, ring_size);
        CHECK(served_.front->start_rings());
    }
    DriverRing& ring(Ring index) override { return served_.front->ring(index); }
    void kick(Ring index) override { served_.front->kick(index); }
    int interrupt(Ring index) override { return ring(index).call.get(); }
    std::byte* at(std::uint64_t address) override { return served_.ram.at(address); }
    std::uint64_t start_hinting() override {
        return served_.with([](BackEnd& b) { return b.balloon().hinting().start(b.counted_hints()).value; });
    }
    void stop_hinting() override {
        served_.with([](BackEnd& b) { return b.balloon().hinting().done(), 0; });
    }

private:
    Served served_;
};

class InProcess final : public Rig {
public:
    InProcess()
        : memory_(*GuestMemory::create({.regions = {{{0}, 64_MiB}}, .backing = Backing::memfd}))
        , interrupt_(*EventFd::create())
        , counted_(PageBitmap(memory_.address_space()))
        , balloon_(testing::everything, memory_, thread_.loop())
        , transport_(*virtio::MmioTransport::create(balloon_, memory_, thread_.loop(), interrupt_,
                                                    {.offer_packed = false, .offer_event_index = false})) {
        CHECK(thread_.start());
        const virtio::FeatureSet features = split_guest.with(feature::protocol_features, false);
        using namespace virtio::mmio_register;
        write(status, 3);
        for (std::uint32_t half = 0; half < 2; ++half) {
            write(driver_features_select, half);
            write(driver_features, static_cast<std::uint32_t>(features.bits >> (32 * half)));
        }
        write(status, 11);
        for (std::uint32_t i = 0; i < 5; ++i) {
            const std::uint64_t address = ram_start + i * FrontEnd::ring_stride;
            const std::uint16_t size = i < 3 ? 128 : ring_size;
            rings_.push_back(std::make_unique<DriverRing>(virtio::RingMemory{at(address), {address}}, size, features));
            const auto registers = rings_.back()->registers();
            write(queue_select, i);
            write(queue_size, size);
            write(queue_descriptors_low, static_cast<std::uint32_t>(registers.descriptors.value));
            write(queue_driver_low, static_cast<std::uint32_t>(registers.driver.value));
            write(queue_device_low, static_cast<std::uint32_t>(registers.device.value));
            write(queue_ready, 1);
        }
        write(status, 15);
    }
    ~InProcess() override { thread_.stop(); }
    DriverRing& ring(Ring index) override { return *rings_[index]; }
    void kick(Ring index) override { transport_->kick({static_cast<std::uint16_t>(index)}).signal(); }
    int interrupt(Ring) override { return interrupt_.fd(); }
    std::byte* at(std::uint64_t address) override { return memory_.span({address}, {1})->data(); }
    std::uint64_t start_hinting() override {
        return thread_.loop().call([this] { return balloon_.hinting().start(counted_).value; });
    }
    void stop_hinting() override {
        thread_.loop().call([this] { balloon_.hinting().done(); });
    }

private:
    void write(std::uint32_t at, std::uint32_t value) {
        std::array<std::byte, 4> bytes{};
        store_little_endian(bytes, value);
        transport_->write({at}, bytes);
    }
    GuestMemory memory_;
    EventFd interrupt_;
    LoopThread thread_{"device"};
    balloon::CountingSink counted_;
    balloon::Balloon balloon_;
    std::unique_ptr<virtio::MmioTransport> transport_;
    std::vector<std::unique_ptr<DriverRing>> rings_;
};

std::vector<DriverBuffer> blocks(std::size_t count, std::uint32_t length) {
    std::vector<DriverBuffer> buffers;
    for (std::size_t i = 0; i < count; ++i)
        buffers.push_back({{data_start + i * length}, length, true});
    return buffers;
}

/// One report a chain, of 64 KiB that nobody has touched: what is measured is the way, not the host's page allocator.
void report_all(Rig& rig, std::span<const DriverBuffer> chains) {
    rig.send(reporting, chains);
}

/// One round: its command, and hints of a page.
void hint_all(Rig& rig, std::span<const DriverBuffer> chains) {
    const std::uint64_t command = ram_start + (8U << 20);
    const auto id = static_cast<std::uint32_t>(rig.start_hinting());
    std::memcpy(rig.at(command), &id, 4);
    rig.send(hinting, std::array{DriverBuffer{{command}, 4, false}});
    for (int i = 0; i < 32; ++i)
        rig.send(hinting, chains);
    rig.stop_hinting();
}

template <typename R>
void reports(benchmark::State& state) {
    R rig;
    const auto chains = blocks(static_cast<std::size_t>(state.range(0)), 64U << 10);
    for (auto _ : state)
        report_all(rig, chains);
    state.SetItemsProcessed(state.iterations() * state.range(0));
}

template <typename R>
void hints(benchmark::State& state) {
    R rig;
    const auto chains = blocks(static_cast<std::size_t>(state.range(0)), 4096);
    for (auto _ : state)
        hint_all(rig, chains);
    state.SetItemsProcessed(state.iterations() * state.range(0) * 32);
}

BENCHMARK(reports<InProcess>)->Arg(1)->Arg(32)->UseRealTime();
BENCHMARK(reports<OverVhostUser>)->Arg(1)->Arg(32)->UseRealTime();
BENCHMARK(hints<InProcess>)->Arg(1)->Arg(128)->UseRealTime();
BENCHMARK(hints<OverVhostUser>)->Arg(1)->Arg(128)->UseRealTime();

/// Both, turn by turn in one run, so that what else the machine does weighs on both: `ratio` is how many times as fast
/// vhost-user was.
void compare(benchmark::State& state, void (*work)(Rig&, std::span<const DriverBuffer>), std::uint32_t length) {
    using Clock = std::chrono::steady_clock;
    InProcess in_process;
    OverVhostUser over_vhost_user;
    const auto chains = blocks(static_cast<std::size_t>(state.range(0)), length);
    Clock::duration inside{};
    Clock::duration outside{};
    for (auto _ : state) {
        const auto began = Clock::now();
        work(in_process, chains);
        const auto between = Clock::now();
        work(over_vhost_user, chains);
        inside += between - began;
        outside += Clock::now() - between;
    }
    state.counters["ratio"] = std::chrono::duration<double>(inside) / std::chrono::duration<double>(outside);
}
BENCHMARK_CAPTURE(compare, reports, report_all, 64U << 10)->Arg(1)->Arg(32)->UseRealTime();
BENCHMARK_CAPTURE(compare, hints, hint_all, 4096)->Arg(1)->Arg(128)->UseRealTime();

} // namespace
} // namespace aerate::vhost_user
