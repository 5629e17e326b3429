// Whole migrations of a guest that is stopped, all of its pages with content, against what they cannot beat: the same
// bytes copied, and the same bytes sent and received with nothing around them. Argument: MiB.
#include "migration/testing/wire.hpp"
#include "migration/wire/delta_frame.hpp"
#include "migration/wire/frame.hpp"

#include <benchmark/benchmark.h>

#include <cstring>
#include <fstream>

namespace aerate::migration {
namespace {

using namespace testing;
using Clock = std::chrono::steady_clock;

constexpr std::size_t block = 1U << 20;

enum class Content : std::uint8_t { noise, words };

GuestMemory filled(ByteCount size, Content content = Content::noise) {
    GuestMemory memory = make_memory({{{{0}, size}}, Backing::anonymous});
    // No page is like another, and nothing in it repeats; or each word is one of 4096, as in text or pointers.
    std::mt19937_64 random(1);
    std::vector<std::uint64_t> words(block / 8);
    for (std::uint64_t at = 0; at < size.value; at += block) {
        for (std::uint64_t& word : words)
            word = content == Content::noise ? random() : (random() % 4096) * 0x9e3779b97f4a7c15ULL;
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
    explicit StillGuest(ByteCount size, Content content = Content::noise)
        : memory_(filled(size, content)) {}
    GuestMemory& memory() override { return memory_; }
    std::string config() override { return "a fake guest"; }
    Result<> start_tracking() override { return {}; }
    void gather(PageBitmap&) override {}
    void stop_tracking() override {}
    void start_hinting(Hints, std::move_only_function<void(bool)> published) override { published(false); }
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

/// The same over as many connections as the options say, to a listener.
void migrate_streams(benchmark::State& state, const char* where, SourceOptions options, Content content) {
    StillGuest from(size_of(state), content);
    auto listener = Listener::open(Endpoint::parse(where).value());
    CHECK(listener);
    const Endpoint there = Endpoint::parse(listener->where()).value();
    options.connect = [there](const EventFd&) { return connect_to(there, 5s); };
    for (auto _ : state) {
        FakeDestination to;
        auto socket = connect_to(there, 5s);
        pollfd waits{listener->fd(), POLLIN, 0};
        CHECK(socket && ::poll(&waits, 1, 5000) == 1);
        auto accepted = listener->accept();
        CHECK(accepted);
        const auto start = Clock::now();
        Destination arriving(*std::move(accepted), to, {.tls = options.tls, .listener = &*listener});
        RunningSource leaving(*std::move(socket), from, options);
        CHECK(arriving.receive());
        const auto result = leaving.wait();
        CHECK(result.outcome == Outcome::moved);
        state.SetIterationTime(std::chrono::duration<double>(Clock::now() - start).count());
        state.counters["wire_share"] =
            static_cast<double>(result.last.wire.value) / static_cast<double>(from.memory().size().value);
    }
    report(state);
}

/// Pages of which so many words are new, made differences and put together again on one core.
void differences(benchmark::State& state) {
    GuestMemory guest = filled({2U << 20});
    const auto all = *guest.span({0}, {1U << 20});
    std::vector<std::byte> sent(all.begin(), all.end());
    std::vector<std::byte> there = sent;
    std::mt19937_64 random(2);
    std::size_t wire = 0;
    for (auto _ : state) {
        state.PauseTiming();
        for (std::size_t page = 0; page < 256; ++page)
            for (std::int64_t word = 0; word < state.range(0); ++word)
                store_little_endian(all.subspan(page * 4096 + random() % 512 * 8), random());
        state.ResumeTiming();
        DeltaFrameBuilder builder;
        for (std::size_t page = 0; page < 256; ++page)
            CHECK(builder.add({page}, std::span(sent).subspan(page * 4096, 4096), all.subspan(page * 4096, 4096)));
        const auto payload = builder.finish().subspan(frame_header_size);
        wire = payload.size();
        const auto parsed = parse_deltas(payload).value();
        for (const Delta& delta : parsed)
            CHECK(apply_delta(delta, std::span(there).subspan(delta.page.value * 4096, 4096)));
    }
    state.counters["wire_share"] = static_cast<double>(wire) / (1U << 20);
    state.SetBytesProcessed(state.iterations() * (1 << 20));
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
    benchmark->Arg(256)->UseManualTime()->Unit(benchmark::kMillisecond)->MinTime(1);
}

BENCHMARK_CAPTURE(copy, warm, false)->Apply(shape);
BENCHMARK_CAPTURE(copy, fresh, true)->Apply(shape);
BENCHMARK_CAPTURE(send_and_receive, unix, unix_pair)->Apply(shape);
BENCHMARK_CAPTURE(send_and_receive, tcp, tcp_pair)->Apply(shape);
BENCHMARK_CAPTURE(migrate, unix, unix_pair, SourceOptions{})->Apply(shape);
BENCHMARK_CAPTURE(migrate, tcp, tcp_pair, SourceOptions{})->Apply(shape);
BENCHMARK_CAPTURE(migrate, unix_verified, unix_pair, SourceOptions{.verify = true})->Apply(shape);
BENCHMARK_CAPTURE(migrate, unix_lz4_noise, unix_pair, SourceOptions{.compression = {{Compression::lz4}}})->Apply(shape);

constexpr const char* tcp = "tcp:127.0.0.1:0";
constexpr const char* local = "unix:/tmp/aerate-migration-bench";
using enum Content;
BENCHMARK_CAPTURE(migrate_streams, unix_1, local, SourceOptions{.streams = 1}, noise)->Apply(shape);
BENCHMARK_CAPTURE(migrate_streams, unix_2, local, SourceOptions{.streams = 2}, noise)->Apply(shape);
BENCHMARK_CAPTURE(migrate_streams, unix_4, local, SourceOptions{.streams = 4}, noise)->Apply(shape);
BENCHMARK_CAPTURE(migrate_streams, tcp_1, tcp, SourceOptions{.streams = 1}, noise)->Apply(shape);
BENCHMARK_CAPTURE(migrate_streams, tcp_2, tcp, SourceOptions{.streams = 2}, noise)->Apply(shape);
BENCHMARK_CAPTURE(migrate_streams, tcp_4, tcp, SourceOptions{.streams = 4}, noise)->Apply(shape);

/// Argument 1: MiB a second that the source keeps to; 0: as much as there is.
void compressed(benchmark::State& state, const char* forms, Content content, unsigned streams) {
    migrate_streams(state, local,
                    {.compression = parse_compression(forms).value(),
                     .bandwidth = {static_cast<std::uint64_t>(state.range(1)) << 20},
                     .streams = streams},
                    content);
}
// Loopback, about a Gbit/s, less than that.
void on_links(benchmark::internal::Benchmark* benchmark) {
    benchmark->ArgsProduct({{256}, {0, 120, 50}})->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(1);
}
BENCHMARK_CAPTURE(compressed, none, "none", words, 1)->Apply(on_links);
BENCHMARK_CAPTURE(compressed, lz4, "lz4", words, 1)->Apply(on_links);
BENCHMARK_CAPTURE(compressed, zstd_1, "zstd:1", words, 1)->Apply(on_links);
BENCHMARK_CAPTURE(compressed, zstd_3, "zstd:3", words, 1)->Apply(on_links);
BENCHMARK_CAPTURE(compressed, zstd_9, "zstd:9", words, 1)->Apply(on_links);
BENCHMARK_CAPTURE(compressed, automatic, "auto", words, 1)->Apply(on_links);
BENCHMARK_CAPTURE(compressed, automatic_on_2, "auto", words, 2)->Apply(on_links);
BENCHMARK_CAPTURE(compressed, noise_none, "none", noise, 1)->Apply(on_links);
BENCHMARK_CAPTURE(compressed, noise_automatic, "auto", noise, 1)->Apply(on_links);
BENCHMARK(differences)->Arg(1)->Arg(16)->Arg(64);

/// Both sides prove to have the same secret.
void encrypted(benchmark::State& state, const char* where, unsigned streams) {
    const std::string path = "/tmp/aerate-migration-bench-psk";
    CHECK(std::ofstream(path) << std::string(32, 'x') << std::flush);
    const auto tls = Tls::load({.psk_path = path}).value();
    migrate_streams(state, where, {.tls = tls.get(), .streams = streams}, noise);
}
BENCHMARK_CAPTURE(encrypted, tcp_1, tcp, 1)->Apply(shape);
BENCHMARK_CAPTURE(encrypted, tcp_2, tcp, 2)->Apply(shape);

} // namespace
} // namespace aerate::migration
