// What giving memory back costs, by backing and range size, and what the page bitmap costs.
//
// Discard fills the ranges that it is about to discard outside the measured time, so that each one frees pages. A batch
// holds 32 ranges, as one free page report of Linux does (PAGE_REPORTING_CAPACITY).
#include "memory/guest_memory.hpp"
#include "memory/page_bitmap.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <vector>

namespace aerate {
namespace {

using namespace literals;

constexpr std::uint64_t ranges_per_batch = 32;

enum class Spread { adjacent, scattered };

void discard(benchmark::State& state, Backing backing, Spread spread) {
    const PageCount length = whole_pages_of({static_cast<std::uint64_t>(state.range(0))});
    // Scattered ranges have a gap of their own length between them, so that none can be merged.
    const std::uint64_t stride = length.value * (spread == Spread::scattered ? 2 : 1);
    const ByteCount size = bytes_of({stride * ranges_per_batch});
    const ByteCount rounded{(size.value + (2_MiB).value - 1) / (2_MiB).value * (2_MiB).value};
    auto made = GuestMemory::create({.regions = {{{0}, rounded}}, .backing = backing});
    if (!made) {
        state.SkipWithError(made.error().message.c_str());
        return;
    }
    GuestMemory& memory = *made;
    if (length < whole_pages_of(memory.host_page_size())) {
        state.SkipWithError("smaller than a host page");
        return;
    }
    std::vector<PageRange> ranges;
    for (std::uint64_t i = 0; i < ranges_per_batch; ++i)
        ranges.push_back({{i * stride}, length});

    unsigned system_calls = 0;
    if (!memory.fill({0}, rounded, std::byte{1})) {
        state.SkipWithError("cannot fill");
        return;
    }
    for (auto _ : state) {
        for (const PageRange& range : ranges)
            benchmark::DoNotOptimize(memory.fill(address_of(range.first), bytes_of(range.count), std::byte{1}));
        const auto start = std::chrono::steady_clock::now();
        const DiscardResult result = memory.discard(ranges);
        const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
        state.SetIterationTime(elapsed.count());
        system_calls = result.system_calls;
        if (result.skipped > 0_pages) {
            state.SkipWithError("not all was discarded");
            return;
        }
    }
    const auto batches = static_cast<std::int64_t>(state.iterations());
    state.SetItemsProcessed(batches * static_cast<std::int64_t>(ranges_per_batch));
    state.SetBytesProcessed(batches * static_cast<std::int64_t>(bytes_of({length.value * ranges_per_batch}).value));
    state.counters["calls/batch"] = system_calls;
}

void sizes(benchmark::internal::Benchmark* bench) {
    bench->ArgName("bytes")->Arg(4 << 10)->Arg(64 << 10)->Arg(2 << 20)->UseManualTime()->MinTime(0.05);
}

BENCHMARK_CAPTURE(discard, anonymous_adjacent, Backing::anonymous, Spread::adjacent)->Apply(sizes);
BENCHMARK_CAPTURE(discard, anonymous_scattered, Backing::anonymous, Spread::scattered)->Apply(sizes);
BENCHMARK_CAPTURE(discard, memfd_adjacent, Backing::memfd, Spread::adjacent)->Apply(sizes);
BENCHMARK_CAPTURE(discard, memfd_scattered, Backing::memfd, Spread::scattered)->Apply(sizes);
BENCHMARK_CAPTURE(discard, hugetlb_adjacent, Backing::hugetlb, Spread::adjacent)->Apply(sizes);
BENCHMARK_CAPTURE(discard, hugetlb_scattered, Backing::hugetlb, Spread::scattered)->Apply(sizes);

void resident(benchmark::State& state, Backing backing) {
    auto made = GuestMemory::create({.regions = {{{0}, 1_GiB}}, .backing = backing});
    if (!made || !made->fill({0}, 1_GiB, std::byte{1})) {
        state.SkipWithError(made ? "cannot fill" : made.error().message.c_str());
        return;
    }
    // Every other 4 KiB page gone: the worst case for whoever reports ranges. Whole huge pages: range(0) == 0.
    if (state.range(0) != 0) {
        std::vector<PageRange> ranges;
        for (std::uint64_t frame = 0; frame < whole_pages_of(1_GiB).value; frame += 2)
            ranges.push_back({{frame}, 1_pages});
        made->discard(ranges);
    }
    PageBitmap all(made->address_space());
    all.set({{0}, all.size()});
    for (auto _ : state)
        benchmark::DoNotOptimize(made->resident_within(all));
    const auto start = std::chrono::steady_clock::now();
    benchmark::DoNotOptimize(made->resident());
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    state.counters["resident() in us"] = elapsed.count() * 1e6;
}

BENCHMARK_CAPTURE(resident, anonymous_1GiB, Backing::anonymous)
    ->ArgName("holes")
    ->Arg(0)
    ->Arg(1)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(resident, memfd_1GiB, Backing::memfd)
    ->ArgName("holes")
    ->Arg(0)
    ->Arg(1)
    ->Unit(benchmark::kMicrosecond);

/// Pages that are zero to the last byte, range(0) MiB of them: 1 MiB stays in the cache, 512 MiB do not.
std::optional<GuestMemory> zero_pages(benchmark::State& state) {
    const ByteCount size{std::max<std::uint64_t>(static_cast<std::uint64_t>(state.range(0)) << 20, (2_MiB).value)};
    auto made = GuestMemory::create({.regions = {{{0}, size}}});
    if (!made || !made->fill({0}, size, std::byte{0})) {
        state.SkipWithError(made ? "cannot fill" : made.error().message.c_str());
        return std::nullopt;
    }
    return std::move(*made);
}

PageCount pages_of(const benchmark::State& state) {
    return whole_pages_of(ByteCount{static_cast<std::uint64_t>(state.range(0)) << 20});
}

void is_zero(benchmark::State& state) {
    const auto memory = zero_pages(state);
    if (!memory)
        return;
    for (auto _ : state)
        for (FrameNumber frame{0}; frame.value < pages_of(state).value; ++frame.value)
            if (!memory->is_zero(frame))
                state.SkipWithError("not zero");
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * (state.range(0) << 20));
}
BENCHMARK(is_zero)->ArgName("MiB")->Arg(1)->Arg(512)->Unit(benchmark::kMicrosecond);

/// What memory gives to a loop that only adds it up: what is_zero is to be measured against.
void read_bandwidth(benchmark::State& state) {
    auto memory = zero_pages(state);
    if (!memory)
        return;
    const auto bytes = memory->span({0}, bytes_of(pages_of(state)));
    const auto* const words = reinterpret_cast<const std::uint64_t*>(bytes->data());
    for (auto _ : state) {
        std::uint64_t sum = 0;
        for (std::size_t index = 0; index < bytes->size() / sizeof *words; ++index)
            sum += words[index];
        benchmark::DoNotOptimize(sum);
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * (state.range(0) << 20));
}
BENCHMARK(read_bandwidth)->ArgName("MiB")->Arg(1)->Arg(512)->Unit(benchmark::kMicrosecond);

/// Bitmaps of 16 GiB, worked on in runs of range(0) pages.
constexpr PageCount bitmap_size = whole_pages_of(16_GiB);

void bitmap_set_and_clear(benchmark::State& state) {
    PageBitmap bitmap(bitmap_size);
    const PageCount length{static_cast<std::uint64_t>(state.range(0))};
    std::uint64_t frame = 0;
    for (auto _ : state) {
        benchmark::DoNotOptimize(bitmap.set({{frame}, length}));
        benchmark::DoNotOptimize(bitmap.clear({{frame}, length}));
        frame = (frame + 7919) % (bitmap_size - length).value;
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * 2);
}
BENCHMARK(bitmap_set_and_clear)->ArgName("pages")->Arg(1)->Arg(16)->Arg(512)->Arg(1024);

void bitmap_next_run(benchmark::State& state) {
    PageBitmap bitmap(bitmap_size);
    const auto length = static_cast<std::uint64_t>(state.range(0));
    const auto gap = static_cast<std::uint64_t>(state.range(1));
    for (std::uint64_t first = 0; first < bitmap_size.value; first += length + gap)
        bitmap.set({{first}, {length}});
    std::int64_t runs = 0;
    for (auto _ : state) {
        for (PageRange run = bitmap.next_run({0}); run.count > 0_pages; run = bitmap.next_run(run.end()))
            ++runs;
    }
    state.SetItemsProcessed(runs);
    state.counters["GiB/s of guest"] =
        benchmark::Counter(static_cast<double>(state.iterations()) * 16, benchmark::Counter::kIsRate);
}
BENCHMARK(bitmap_next_run)->ArgNames({"pages", "gap"})->Args({1, 1})->Args({512, 512})->Args({1, 100'000});

void bitmap_move_into(benchmark::State& state) {
    PageBitmap from(bitmap_size);
    PageBitmap into(bitmap_size);
    const auto gap = static_cast<std::uint64_t>(state.range(0));
    for (auto _ : state) {
        state.PauseTiming();
        for (std::uint64_t frame = 0; frame < bitmap_size.value; frame += gap)
            from.set({{frame}, 1_pages});
        state.ResumeTiming();
        from.move_into(into);
    }
    state.counters["GiB/s of guest"] =
        benchmark::Counter(static_cast<double>(state.iterations()) * 16, benchmark::Counter::kIsRate);
}
BENCHMARK(bitmap_move_into)->ArgName("gap")->Arg(64)->Arg(4096);

void bitmap_add(benchmark::State& state) {
    PageBitmap from(bitmap_size);
    PageBitmap into(bitmap_size);
    const auto gap = static_cast<std::uint64_t>(state.range(0));
    for (std::uint64_t frame = 0; frame < bitmap_size.value; frame += gap)
        from.set({{frame}, 1_pages});
    for (auto _ : state)
        into.add(from);
    state.counters["GiB/s of guest"] =
        benchmark::Counter(static_cast<double>(state.iterations()) * 16, benchmark::Counter::kIsRate);
}
BENCHMARK(bitmap_add)->ArgName("gap")->Arg(64)->Arg(4096);

} // namespace
} // namespace aerate
