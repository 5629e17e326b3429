// What a snapshot costs to write, to open and to restore, next to what the host could do at best.
//
// Writing fills a file again and again, with the disk left out: TMPDIR says where, and in
// /dev/shm there is none. Figures of one run are compared with each other.
#include "base/testing/temporary_directory.hpp"
#include "base/zero.hpp"
#include "memory/guest_memory.hpp"
#include "snapshot/file_operations.hpp"
#include "snapshot/snapshot.hpp"
#include "snapshot/testing/sample.hpp"
#include "snapshot/writer.hpp"

#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <vector>

namespace aerate::snapshot {
namespace {

using namespace literals;
using testing::Bytes;

constexpr ByteCount data_size = 128_MiB;

const Bytes& data() {
    static const Bytes bytes = testing::pages(whole_pages_of(data_size).value, 1);
    return bytes;
}

void throughput(benchmark::State& state) {
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(data_size.value));
}

void copy_memory(benchmark::State& state) {
    Bytes into(data().size());
    for (auto _ : state) {
        std::memcpy(into.data(), data().data(), into.size());
        benchmark::ClobberMemory();
    }
    throughput(state);
}
BENCHMARK(copy_memory)->Unit(benchmark::kMillisecond);

void plain_pwrite(benchmark::State& state) {
    const TemporaryDirectory directory;
    for (auto _ : state) {
        const FileDescriptor file(::open(directory.path().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
        for (std::size_t done = 0; done < data().size(); done += 1U << 20)
            benchmark::DoNotOptimize(::pwrite(file.get(), data().data() + done, 1U << 20, static_cast<off_t>(done)));
    }
    throughput(state);
}
BENCHMARK(plain_pwrite)->Unit(benchmark::kMillisecond);

/// Leaves the waiting for the disk out.
class NoSync : public FileOperations {
public:
    int sync(int) override { return 0; }
};

/// A run of range(0) pages of data, then one of zeros, until all data is written.
void write_snapshot(benchmark::State& state, bool with_key) {
    const TemporaryDirectory directory;
    NoSync files;
    const PageCount run{static_cast<std::uint64_t>(state.range(0))};
    for (auto _ : state) {
        auto writer = Writer::create({.path = directory / "a",
                                      .regions = {{{0}, 1_GiB}},
                                      .existing = Existing::replace,
                                      .key = with_key ? std::optional(testing::sample_key()) : std::nullopt},
                                     files);
        FrameNumber frame{};
        for (std::size_t done = 0; writer && done < data().size(); done += bytes_of(run).value) {
            const auto bytes = std::span(data()).subspan(done, bytes_of(run).value);
            if (!writer->add({frame, run}, bytes)) {
                state.SkipWithError("cannot write");
                return;
            }
            frame.value += run.value + (run.value < 1000 ? 1 : 0);
        }
        if (!writer || !std::move(*writer).finish({}, {})) {
            state.SkipWithError("cannot write");
            return;
        }
    }
    throughput(state);
}
BENCHMARK_CAPTURE(write_snapshot, no_key, false)
    ->ArgName("run")
    ->Arg(1)
    ->Arg(16)
    ->Arg(32768)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(write_snapshot, key, true)->ArgName("run")->Arg(32768)->Unit(benchmark::kMillisecond);

void read_memory(benchmark::State& state) {
    const auto* const words = reinterpret_cast<const std::uint64_t*>(data().data());
    for (auto _ : state) {
        std::uint64_t sum = 0;
        for (std::size_t i = 0; i < data().size() / sizeof(*words); ++i)
            sum |= words[i];
        benchmark::DoNotOptimize(sum);
    }
    throughput(state);
}
BENCHMARK(read_memory)->Unit(benchmark::kMillisecond);

void zero_scan(benchmark::State& state) {
    const Bytes zeros(data_size.value, std::byte{});
    for (auto _ : state) {
        for (std::size_t done = 0; done < zeros.size(); done += page_size.value)
            benchmark::DoNotOptimize(is_zero(std::span(zeros).subspan(done, page_size.value)));
    }
    throughput(state);
}
BENCHMARK(zero_scan)->Unit(benchmark::kMillisecond);

/// A guest of range(0) MiB of which 64 MiB hold data, in runs of 16 pages apart.
std::optional<Snapshot> sparse_snapshot(const TemporaryDirectory& directory, benchmark::State& state,
                                        std::optional<Key> key = {}) {
    NoSync files;
    auto writer = Writer::create(
        {.path = directory / "a", .regions = {{{0}, {static_cast<std::uint64_t>(state.range(0)) << 20}}}, .key = key},
        files);
    for (std::uint64_t run = 0; writer && run < 1024; ++run) {
        if (!writer->add({{run * 32}, {16}}, std::span(data()).first(16 * page_size.value)))
            state.SkipWithError("cannot write");
    }
    if (!writer || !std::move(*writer).finish({}, {}))
        state.SkipWithError("cannot write");
    auto snapshot = Snapshot::open(directory / "a", key);
    if (!snapshot)
        return std::nullopt;
    return std::move(*snapshot);
}

void open_snapshot(benchmark::State& state) {
    const TemporaryDirectory directory;
    if (!sparse_snapshot(directory, state))
        return;
    for (auto _ : state)
        benchmark::DoNotOptimize(Snapshot::open(directory / "a"));
}
BENCHMARK(open_snapshot)->ArgName("MiB")->Arg(128)->Arg(1024)->Arg(8192)->Unit(benchmark::kMicrosecond);

/// Opening included; taking the memory apart again is not.
void open_and_restore(benchmark::State& state, bool with_key) {
    const TemporaryDirectory directory;
    const auto key = with_key ? std::optional(testing::sample_key()) : std::nullopt;
    if (!sparse_snapshot(directory, state, key))
        return;
    for (auto _ : state) {
        const auto snapshot = Snapshot::open(directory / "a", key);
        auto memory = snapshot->restore({.regions = snapshot->regions()});
        benchmark::DoNotOptimize(memory);
        state.PauseTiming();
        memory = fail("gone");
        state.ResumeTiming();
    }
    state.counters["pieces"] = static_cast<double>(Snapshot::open(directory / "a", key)->pieces().size());
}
BENCHMARK_CAPTURE(open_and_restore, no_key, false)
    ->ArgName("MiB")
    ->Arg(128)
    ->Arg(1024)
    ->Arg(8192)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(open_and_restore, key, true)->ArgName("MiB")->Arg(1024)->Unit(benchmark::kMicrosecond);

void verify(benchmark::State& state, bool with_key) {
    const TemporaryDirectory directory;
    const auto key = with_key ? std::optional(testing::sample_key()) : std::nullopt;
    const auto snapshot = sparse_snapshot(directory, state, key);
    if (!snapshot)
        return;
    for (auto _ : state)
        benchmark::DoNotOptimize(snapshot->verify_memory());
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * (64 << 20));
}
BENCHMARK_CAPTURE(verify, no_key, false)->ArgName("MiB")->Arg(1024)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(verify, key, true)->ArgName("MiB")->Arg(1024)->Unit(benchmark::kMillisecond);

enum class Touch { read, write, prefetch };

/// The first touch of each of the 16384 pages with data, which are in the page cache; per page.
void first_touch(benchmark::State& state, Touch touch) {
    const TemporaryDirectory directory;
    const auto snapshot = sparse_snapshot(directory, state);
    if (!snapshot)
        return;
    const auto pieces = snapshot->pieces();
    for (auto _ : state) {
        state.PauseTiming();
        auto memory = GuestMemory::restore({.regions = snapshot->regions()}, pieces);
        state.ResumeTiming();
        for (const FilePiece& piece : pieces) {
            if (touch == Touch::prefetch)
                memory->prefetch(std::span(&piece.pages, 1));
            for (FrameNumber frame = piece.pages.first; touch != Touch::prefetch && frame < piece.pages.end();
                 ++frame.value) {
                if (touch == Touch::read)
                    benchmark::DoNotOptimize(memory->load<std::uint64_t>(address_of(frame)));
                else
                    benchmark::DoNotOptimize(memory->store<std::uint64_t>(address_of(frame), 1));
            }
        }
        state.PauseTiming();
        memory = fail("gone");
        state.ResumeTiming();
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * 16384);
}
BENCHMARK_CAPTURE(first_touch, read, Touch::read)->ArgName("MiB")->Arg(1024)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(first_touch, write, Touch::write)->ArgName("MiB")->Arg(1024)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(first_touch, prefetch, Touch::prefetch)->ArgName("MiB")->Arg(1024)->Unit(benchmark::kMillisecond);

/// Pages that are still the file's are discarded by mapping over them: 4 KiB each, all apart.
void discard_of_files_pages(benchmark::State& state) {
    const TemporaryDirectory directory;
    const auto snapshot = sparse_snapshot(directory, state);
    if (!snapshot)
        return;
    std::vector<PageRange> ranges;
    for (const FilePiece& piece : snapshot->pieces())
        ranges.push_back({{piece.pages.first.value + 8}, {1}});
    for (auto _ : state) {
        state.PauseTiming();
        auto memory = GuestMemory::restore({.regions = snapshot->regions()}, snapshot->pieces());
        state.ResumeTiming();
        benchmark::DoNotOptimize(memory->discard(ranges));
        state.PauseTiming();
        memory = fail("gone");
        state.ResumeTiming();
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(ranges.size()));
}
BENCHMARK(discard_of_files_pages)->ArgName("MiB")->Arg(1024)->Unit(benchmark::kMillisecond);

} // namespace
} // namespace aerate::snapshot
