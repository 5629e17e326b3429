// The guest's half: hints through its driver and our device half on one thread, and the allocator at sizes that differ
// a thousandfold.
#include "guestkit/testing/virtual_transport.hpp"

#include <benchmark/benchmark.h>

#include <random>
#include <vector>

namespace aerate::guestkit {
namespace {

struct NullSink final : HintSink {
    void hinted(PageRange) override {}
};

/// Whole rounds of hinting, from the command to DONE; an item is a descriptor. Nothing is done with the hints.
void hint_rounds(benchmark::State& state, Behaviour behaviour) {
    testing::VirtualGuest<> guest({.behaviour = behaviour, .hint_order = {static_cast<unsigned>(state.range(0))}},
                                  {.free_page_hinting = true, .free_page_reporting = false, .statistics = false});
    // Checkered, so that no free block is larger than what is hinted.
    std::vector<FrameNumber> kept;
    while (const auto first = guest.allocator.allocate({static_cast<unsigned>(state.range(0))}))
        kept.push_back(*first);
    for (std::size_t i = 0; i < kept.size(); i += 2)
        guest.allocator.free(kept[i]);
    NullSink sink;
    const std::uint64_t before = guest.driver->hinting()->hinted().value;
    for (auto _ : state) {
        guest.balloon.hinting().start(sink);
        guest.run();
        guest.balloon.hinting().done();
        guest.run();
    }
    const std::uint64_t pages = guest.driver->hinting()->hinted().value - before;
    state.SetItemsProcessed(static_cast<std::int64_t>(pages >> state.range(0)));
}
BENCHMARK_CAPTURE(hint_rounds, hold_until_used, Behaviour::hold_until_used)->ArgName("order")->Arg(0)->Arg(4);
BENCHMARK_CAPTURE(hint_rounds, stock_linux, Behaviour::stock_linux)->ArgName("order")->Arg(0)->Arg(4);
BENCHMARK_CAPTURE(hint_rounds, wait_on_ack, Behaviour::wait_on_ack)->ArgName("order")->Arg(4);

/// Chains of 32 descriptors, as reporting sends them, without the discard that follows.
void chains_of_32(benchmark::State& state) {
    constexpr std::uint16_t size = 256;
    virtio::testing::FakeDriver fake;
    virtio::testing::FakeQueue queue = fake.queue(size, virtio::testing::split_ring_with_events);
    auto& driver = queue.driver<virtio::SplitDriver>();
    virtio::Virtqueue& device = queue.device();
    const std::vector<virtio::DriverBuffer> chain(32, virtio::DriverBuffer{{0x1000}, 4096, true});
    for (auto _ : state) {
        for (std::uint32_t i = 0; i < size / 32; ++i)
            CHECK(driver.add(chain, i));
        benchmark::DoNotOptimize(driver.publish());
        for (unsigned i = 0; i < size / 32; ++i)
            device.complete((**device.pop()).id, 0);
        benchmark::DoNotOptimize(device.publish());
        for (unsigned i = 0; i < size / 32; ++i)
            CHECK(driver.take_used().has_value());
    }
    state.SetItemsProcessed(state.iterations() * size);
}
BENCHMARK(chains_of_32);

/// An item is one allocate() or free() of a random order, with half of memory in use. The records of 2^22 frames fill
/// 48 MiB, so past the processor's caches what grows is the time of a miss, not the number of steps.
void allocator(benchmark::State& state) {
    const PageCount frames{1ULL << state.range(0)};
    std::vector<FrameRecord> records(frames.value);
    Zone zone({{0}, frames}, records, {});
    zone.add(zone.frames());
    std::mt19937 random(1);
    std::vector<FrameNumber> live;
    const auto allocate = [&] {
        if (const auto first = zone.allocate({static_cast<unsigned>(random() % 6)}))
            live.push_back(*first);
    };
    while (zone.free_pages().value > frames.value / 2)
        allocate();
    for (auto _ : state) {
        const std::size_t victim = random() % live.size();
        zone.free(live[victim]);
        live[victim] = live.back();
        live.pop_back();
        allocate();
    }
    state.SetItemsProcessed(2 * state.iterations());
}
BENCHMARK(allocator)->ArgName("log2_frames")->DenseRange(12, 22, 2);

/// The worst case: every free() merges all the way up, every allocate() splits all the way down.
void split_and_merge(benchmark::State& state) {
    const PageCount frames{1ULL << state.range(0)};
    std::vector<FrameRecord> records(frames.value);
    Zone zone({{0}, frames}, records, {});
    zone.add(zone.frames());
    for (auto _ : state)
        zone.free(*zone.allocate({0}));
    state.SetItemsProcessed(2 * state.iterations());
}
BENCHMARK(split_and_merge)->ArgName("log2_frames")->DenseRange(12, 22, 5);

/// A batch of 32 blocks isolated and put back.
void isolate_32(benchmark::State& state) {
    const PageCount frames{1ULL << state.range(0)};
    std::vector<FrameRecord> records(frames.value);
    Zone zone({{0}, frames}, records, {});
    zone.add(zone.frames());
    std::array<Block, 32> blocks;
    std::uint64_t count = 0;
    for (auto _ : state) {
        const std::size_t isolated = zone.isolate_unreported(huge_page_order, blocks);
        for (std::size_t i = 0; i < isolated; ++i)
            zone.put_back(blocks[i].first, Mark::as_it_was);
        count += isolated;
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(count));
}
BENCHMARK(isolate_32)->ArgName("log2_frames")->DenseRange(12, 22, 5);

} // namespace
} // namespace aerate::guestkit
