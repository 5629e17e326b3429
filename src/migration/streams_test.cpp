// Migrations over several streams, with all that pages can be sent as.
#include "migration/streams.hpp"
#include "migration/testing/certificates.hpp"
#include "migration/testing/outcome.hpp"

#include <gtest/gtest.h>

namespace aerate::migration {
namespace {

using namespace testing;

/// So that each of four streams has two chunks.
const MemoryLayout spread{{{{0}, {16U << 20}}}, Backing::anonymous};

TEST(Streams, EachPageHasOneAndNeighboursShareIt) {
    for (unsigned streams = 1; streams <= max_streams; ++streams) {
        std::vector<std::uint64_t> next(streams, 0);
        for (std::uint64_t frame = 0; frame < 40'000; ++frame) {
            const unsigned stream = stream_of({frame}, streams);
            ASSERT_LT(stream, streams);
            ASSERT_EQ(stream, stream_of({frame / 512 * 512}, streams));
            ASSERT_EQ(index_on_stream({frame}, streams), next[stream]++) << "no two of one stream share an index";
        }
    }
    EXPECT_EQ(on_one_stream({{510}, {5}}, 2), (PageRange{{510}, {2}}));
    EXPECT_EQ(on_one_stream({{512}, {5000}}, 3), (PageRange{{512}, {512}}));
    EXPECT_EQ(on_one_stream({{510}, {5000}}, 1), (PageRange{{510}, {5000}}));
}

TEST(Streams, AGuestThatWritesArrivesAsItWasLastOverAnyNumberOfThemInAnyForm) {
    PageCount deltas;
    for (const unsigned streams : {1U, 2U, 4U})
        for (const char* compression : {"none", "lz4", "zstd:3", "auto"})
            for (const ByteCount cache : {ByteCount{}, ByteCount{1U << 20}}) {
                SCOPED_TRACE(fmt::format("{} streams, compression {}, cache {}", streams, compression, cache.value));
                FakeSource from({.layout = spread,
                                 .filled = 2000,
                                 .writers = 2,
                                 .pause = 20us,
                                 .working_set = 700,
                                 .hints = true,
                                 .seed = streams});
                FakeDestination to;
                Migration migration{.source_options = {.downtime_limit = 1ms,
                                                       .max_rounds = 5,
                                                       .stop_anyway = true,
                                                       .verify = true,
                                                       .compression = parse_compression(compression).value(),
                                                       .bandwidth = {256U << 20},
                                                       .streams = streams,
                                                       .delta_cache = cache}};
                migration.run_streams(from, to);
                expect_moved(migration, from, to);
                ASSERT_TRUE(migration.destination);
                EXPECT_TRUE(migration.destination->verified);
                EXPECT_EQ(migration.destination->wire, migration.source.last.wire);
                EXPECT_EQ(migration.destination->deltas, migration.source.last.delta);
                EXPECT_TRUE(cache.value > 0 || migration.source.last.delta == PageCount{});
                deltas += migration.source.last.delta;
                if (HasFailure())
                    return;
            }
    EXPECT_GT(deltas, PageCount{}) << "how many depends on how busy this machine is";
}

TEST(Streams, TheyAreProtectedAsTheFirstIs) {
    const TemporaryDirectory directory;
    const auto secret = load({.psk_path = secret_file(directory, "psk", 'k')});
    FakeSource from({.layout = spread, .filled = 2000, .writers = 1, .pause = 20us});
    FakeDestination to;
    Migration migration{.source_options = {.downtime_limit = 1ms,
                                           .max_rounds = 4,
                                           .stop_anyway = true,
                                           .verify = true,
                                           .tls = secret.get(),
                                           .streams = 3,
                                           .delta_cache = {8U << 20}},
                        .destination_options = {.tls = secret.get()}};
    migration.run_streams(from, to);
    expect_moved(migration, from, to);
}

/// A small guest whose two chunks go on two streams, and that writes, so that there are deltas.
FakeSource::Options two_chunks() {
    return {.layout = {{{{0}, {4U << 20}}}, Backing::anonymous},
            .filled = 30,
            .writers = 1,
            .pause = 50us,
            .working_set = 600};
}

TEST(Streams, M18_AFaultOnAnyOfThemAtAnyMomentEndsTheMigrationAsItWouldOnOne) {
    const auto options = [] {
        return SourceOptions{.downtime_limit = 1ms,
                             .max_rounds = 4,
                             .stop_anyway = true,
                             .verify = true,
                             .deadline = 300ms,
                             .streams = 2,
                             .delta_cache = {1U << 20}};
    };
    std::array<unsigned, 3> outcomes{};
    std::mt19937_64 random(4);
    for (const Fault::Kind kind :
         {Fault::Kind::cut, Fault::Kind::reset, Fault::Kind::flip, Fault::Kind::garbage, Fault::Kind::stall})
        for (const unsigned stream : {0U, 1U})
            for (int i = 0; i < (kind == Fault::Kind::stall ? 4 : 25); ++i) {
                FakeSource from(two_chunks());
                FakeDestination to;
                Migration migration{.source_options = options(), .destination_options = {.deadline = 300ms}};
                // Many of them early, where the streams join.
                const std::uint64_t range = i % 3 == 0 ? 200 : 400'000;
                const Fault fault{kind, i % 5 == 0, random() % range, static_cast<std::uint8_t>(i)};
                migration.run_streams(from, to, fault, stream);
                expect_sane(migration, from, to, false);
                ++outcomes[static_cast<std::size_t>(migration.source.outcome)];
                ASSERT_FALSE(HasFailure()) << "stream " << stream << ", fault " << static_cast<int>(kind) << " at "
                                           << fault.at << (fault.to_source ? " to the source" : "");
            }
    EXPECT_GT(outcomes[static_cast<std::size_t>(Outcome::stayed)], 60U);
}

TEST(Streams, M18_ACutAtEveryByteOfASmallOne) {
    // The second stream of a guest that is stopped: joins, carries a few pages, and ends its round.
    const auto guest = [] {
        return FakeSource::Options{.layout = {{{{0}, {4U << 20}}}, Backing::anonymous}, .filled = 0};
    };
    const SourceOptions options{.streams = 2};
    std::array<std::uint64_t, 2> length{};
    {
        FakeSource from(guest());
        FakeDestination to;
        Migration migration{.source_options = options};
        length = migration.run_streams(from, to, {}, 1);
        expect_moved(migration, from, to);
    }
    ASSERT_GT(length[0], 100U);
    ASSERT_GT(length[1], 40U);
    for (const bool to_source : {false, true})
        for (std::uint64_t at = 0; at < length[to_source ? 1 : 0]; ++at) {
            FakeSource from(guest());
            FakeDestination to;
            Migration migration{.source_options = options};
            migration.source_options.deadline = migration.destination_options.deadline = 2s;
            migration.run_streams(from, to, Fault{Fault::Kind::cut, to_source, at, 0}, 1);
            expect_sane(migration, from, to, false);
            EXPECT_EQ(migration.source.outcome, Outcome::stayed) << at;
            ASSERT_FALSE(HasFailure()) << "at byte " << at << (to_source ? " to the source" : "");
        }
}

TEST(Streams, M15_CancelWhileTheyAreBusyIsPrompt) {
    for (const bool at_source : {true, false}) {
        FakeSource from({.layout = spread, .filled = 4000, .writers = 1, .pause = 10us});
        FakeDestination to;
        auto listener = Listener::open(Endpoint::parse("tcp:127.0.0.1:0").value());
        ASSERT_TRUE(listener);
        const Endpoint there = Endpoint::parse(listener->where()).value();
        const auto connect = [&](const EventFd&) { return connect_to(there, 5s); };
        auto socket = connect_to(there, 5s);
        ASSERT_TRUE(socket);
        auto accepted = listener->accept();
        ASSERT_TRUE(accepted);
        Migration migration;
        Destination arriving(*std::move(accepted), to, {.listener = &*listener});
        std::promise<RunningSource*> source;
        auto get_source = source.get_future().share();
        RunningSource leaving(
            *std::move(socket), from,
            {.downtime_limit = 0ms, .max_rounds = 1000, .bandwidth = {20U << 20}, .streams = 4, .connect = connect},
            [&](const SourceProgress& progress) {
                if (progress.phase == SourceProgress::Phase::copying)
                    at_source ? get_source.get()->cancel() : arriving.cancel();
            });
        source.set_value(&leaving);
        const auto start = std::chrono::steady_clock::now();
        migration.destination = arriving.receive();
        migration.source = leaving.wait();
        EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
        EXPECT_EQ(migration.source.outcome, Outcome::stayed);
        EXPECT_NE(migration.source.error.find("cancelled"), std::string::npos) << migration.source.error;
        expect_sane(migration, from, to, false);
    }
}

/// An address at which connecting takes for ever: somebody listens there and accepts nobody.
class BlackHole {
public:
    BlackHole()
        : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        CHECK(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
        CHECK(::listen(listener_.get(), 0) == 0);
        CHECK(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
        there = Endpoint::parse(fmt::format("tcp:127.0.0.1:{}", ntohs(address.sin_port))).value();
        // Until its backlog is full.
        while (auto taken = connect_to(*there, 100ms))
            backlog_.push_back(*std::move(taken));
    }
    std::optional<Endpoint> there;

private:
    FileDescriptor listener_;
    std::vector<FileDescriptor> backlog_;
};

TEST(Streams, M15_CancelWhileOneConnectsIsPrompt) {
    const BlackHole hole;
    for (const bool first : {true, false}) {
        FakeSource from({.layout = spread, .filled = 10});
        FakeDestination to;
        auto listener = Listener::open(Endpoint::parse("tcp:127.0.0.1:0").value());
        ASSERT_TRUE(listener);
        auto sockets = tcp_pair();
        Destination arriving(std::move(sockets.second), to, {.listener = &*listener});
        std::promise<void> connecting;
        std::promise<SourceResult> ended;
        Source leaving(from,
                       {.streams = 2,
                        .connect = [&, calls = 0](const EventFd& interrupt) mutable -> Result<FileDescriptor> {
                            if (calls++ == 0 && !first)
                                return std::move(sockets.first);
                            connecting.set_value();
                            return connect_to(*hole.there, 60s, &interrupt);
                        }},
                       {.progress = {}, .finished = [&](SourceResult result) { ended.set_value(std::move(result)); }});
        auto arrived = std::async(std::launch::async, [&] { return arriving.receive(); });
        ASSERT_TRUE(leaving.start());
        connecting.get_future().wait();
        const auto start = std::chrono::steady_clock::now();
        leaving.cancel();
        const SourceResult result = ended.get_future().get();
        EXPECT_LT(std::chrono::steady_clock::now() - start, 2s);
        EXPECT_EQ(result.outcome, Outcome::stayed);
        EXPECT_EQ(result.error, "the migration was cancelled");
        sockets.first = {};
        EXPECT_FALSE(arrived.get());
    }
}

} // namespace
} // namespace aerate::migration
