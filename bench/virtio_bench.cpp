// Descriptors a second through both halves of a ring, on one thread: what the rings themselves cost, with no device and
// no kick. Arguments: chains a batch (one publish() of each side a batch), descriptors a chain.
#include "base/check.hpp"
#include "virtio/testing/fake_driver.hpp"

#include <benchmark/benchmark.h>

#include <array>
#include <cstdint>
#include <vector>

namespace aerate::virtio {
namespace {

using namespace testing;

template <typename Driver>
void ring(benchmark::State& state, FeatureSet features) {
    constexpr std::uint16_t size = 256;
    const auto batch = static_cast<std::uint32_t>(state.range(0));
    const auto segments = static_cast<std::size_t>(state.range(1));
    FakeDriver fake;
    FakeQueue queue = fake.queue(size, features);
    auto& driver = queue.driver<Driver>();
    Virtqueue& device = queue.device();
    const std::vector<DriverBuffer> chain(segments, DriverBuffer{{0x1000}, 4096, true});

    for (auto _ : state) {
        for (std::uint32_t i = 0; i < batch; ++i)
            CHECK(driver.add(chain, i));
        benchmark::DoNotOptimize(driver.publish());
        for (std::uint32_t i = 0; i < batch; ++i) {
            const auto taken = device.pop();
            device.complete((*taken)->id, 1);
        }
        benchmark::DoNotOptimize(device.publish());
        for (std::uint32_t i = 0; i < batch; ++i)
            CHECK(driver.take_used().has_value());
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(batch * segments));
}

void indirect(benchmark::State& state, FeatureSet features) {
    const auto segments = static_cast<std::uint32_t>(state.range(0));
    FakeDriver fake;
    FakeQueue queue = fake.queue(256, features);
    const RingMemory table = fake.allocator().allocate_ring({descriptor_bytes * segments});
    const std::vector<DriverBuffer> chain(segments, DriverBuffer{{0x1000}, 4096, true});
    for (auto _ : state) {
        CHECK(queue.driver<SplitDriver>().add_indirect(chain, table, 0));
        benchmark::DoNotOptimize(queue.publish());
        const auto taken = queue.device().pop();
        queue.device().complete((*taken)->id, 1);
        benchmark::DoNotOptimize(queue.device().publish());
        CHECK(queue.driver<SplitDriver>().take_used().has_value());
    }
    state.SetItemsProcessed(state.iterations() * segments);
}

void shapes(benchmark::internal::Benchmark* benchmark) {
    benchmark->ArgNames({"batch", "segments"})
        ->Args({1, 1})
        ->Args({8, 1})
        ->Args({32, 1})
        ->Args({256, 1})
        ->Args({8, 32});
}

void split_queue(benchmark::State& state, FeatureSet features) {
    ring<SplitDriver>(state, features);
}
void packed_queue(benchmark::State& state, FeatureSet features) {
    ring<PackedDriver>(state, features);
}
BENCHMARK_CAPTURE(split_queue, flags, split_ring)->Apply(shapes);
BENCHMARK_CAPTURE(split_queue, event_index, split_ring_with_events)->Apply(shapes);
BENCHMARK_CAPTURE(packed_queue, flags, packed_ring)->Apply(shapes);
BENCHMARK_CAPTURE(packed_queue, event_index, packed_ring_with_events)->Apply(shapes);
BENCHMARK_CAPTURE(indirect, split, split_ring_with_events)->ArgName("segments")->Arg(4)->Arg(32);

} // namespace
} // namespace aerate::virtio
