// Whole migrations of a guest that stands still, all of its pages with content, against what they cannot beat: the same
// bytes copied, and the same bytes sent and received with nothing around them. Argument: MiB.
#include "migration/testing/wire.hpp"

#include <benchmark/benchmark.h>

#include <cstring>

namespace aerate::migration {
namespace {

using namespace testing;
using Clock = std::chrono::steady_clock;

constexpr std::size_t block = 1U << 20;

GuestMemory filled(ByteCount size) {
    GuestMemory memory = make_memory({{{{0}, size}}, Backing::anonymous});
    // No page is like another, and nothing in it repeats.
    std::mt19937_64 random(1);
    std::vector<std::uint64_t> words(block / 8);
    for (std::uint64_t at = 0; at < size.value; at += block) {
        for (std::uint64_t& word : words)
            word = random();
        CHECK(memory.write({at}, std::as_bytes(std::span(words))));
    }
    return memory;
}

ByteCount size_of(const benchmark::State& state) {
    return {static_cast<std::uint64_t>(state.range(0)) << 20};
}

void report(benchmark::State& state) {
    state.SetBytesProcessed(state.iterations() * state.range(0) * (1 << 20));
}

class StillGuest final : public SourceGuest {
public:
    explicit StillGuest(ByteCount size)
        : memory_(filled(size)) {}
    GuestMemory& memory() override { return memory_; }
    std::string config() override { return "a fake guest"; }
    Result<> start_tracking() override { return {}; }
    void gather(PageBitmap&, PageBitmap&) override {}
    void stop_tracking() override {}
    void start_hinting(HintCallbacks, std::move_only_function<void(bool)> published) override { published(false); }
    void stop_hinting(std::move_only_function<void()> closed) override { closed(); }
    void freeze(std::move_only_function<void(Result<>)> frozen) override { frozen({}); }
    void save(std::move_only_function<void(Result<std::vector<std::byte>>)> saved) override { saved({}); }
    void run_on() override {}
    void gone() override {}

private:
    GuestMemory memory_;
};

void migrate(benchmark::State& state, SocketPair (*sockets)(), SourceOptions options) {
    StillGuest from(size_of(state));
    double downtime = 0;
    for (auto _ : state) {
        FakeDestination to;
        auto pair = sockets();
        const auto start = Clock::now();
        Destination arriving(std::move(pair.second), to, {});
        RunningSource leaving(std::move(pair.first), from, options);
        CHECK(arriving.receive());
        const auto result = leaving.wait();
        CHECK(result.outcome == Outcome::moved);
        downtime = std::max(downtime, static_cast<double>(result.downtime.count()) / 1000);
        state.SetIterationTime(std::chrono::duration<double>(Clock::now() - start).count());
    }
    state.counters["downtime_ms"] = downtime;
    report(state);
}

/// Into memory that was never touched, as a destination's, or into what is there already.
void copy(benchmark::State& state, bool fresh) {
    GuestMemory from = filled(size_of(state));
    const auto source = *from.span({0}, from.size());
    auto to = std::make_unique<GuestMemory>(filled(size_of(state)));
    for (auto _ : state) {
        if (fresh)
            to = std::make_unique<GuestMemory>(make_memory({{{{0}, from.size()}}, Backing::anonymous}));
        const auto start = Clock::now();
        std::memcpy(to->span({0}, from.size())->data(), source.data(), source.size());
        state.SetIterationTime(std::chrono::duration<double>(Clock::now() - start).count());
    }
    report(state);
}

void send_and_receive(benchmark::State& state, SocketPair (*sockets)()) {
    GuestMemory from = filled(size_of(state));
    GuestMemory to = filled(size_of(state));
    const auto source = *from.span({0}, from.size());
    const auto sink = *to.span({0}, to.size());
    for (auto _ : state) {
        auto pair = sockets();
        const auto start = Clock::now();
        {
            std::jthread sender([&] {
                for (std::size_t at = 0; at < source.size();)
                    at += static_cast<std::size_t>(std::max<ssize_t>(
                        ::send(pair.first.get(), &source[at], std::min(block, source.size() - at), 0), 0));
            });
            for (std::size_t at = 0; at < sink.size();)
                at += static_cast<std::size_t>(
                    std::max<ssize_t>(::recv(pair.second.get(), &sink[at], std::min(block, sink.size() - at), 0), 0));
        }
        state.SetIterationTime(std::chrono::duration<double>(Clock::now() - start).count());
    }
    report(state);
}

void shape(benchmark::internal::Benchmark* benchmark) {
    benchmark->Arg(256)->UseManualTime()->Unit(benchmark::kMillisecond)->MinTime(2);
}

BENCHMARK_CAPTURE(copy, warm, false)->Apply(shape);
BENCHMARK_CAPTURE(copy, fresh, true)->Apply(shape);
BENCHMARK_CAPTURE(send_and_receive, unix, unix_pair)->Apply(shape);
BENCHMARK_CAPTURE(send_and_receive, tcp, tcp_pair)->Apply(shape);
BENCHMARK_CAPTURE(migrate, unix, unix_pair, SourceOptions{})->Apply(shape);
BENCHMARK_CAPTURE(migrate, tcp, tcp_pair, SourceOptions{})->Apply(shape);
BENCHMARK_CAPTURE(migrate, unix_verified, unix_pair, SourceOptions{.verify = true})->Apply(shape);
BENCHMARK_CAPTURE(migrate, unix_lz4_noise, unix_pair, SourceOptions{.compression = {Compression::lz4}})->Apply(shape);

} // namespace
} // namespace aerate::migration
