// What a source may send to do harm on several streams, or as differences, against a destination alone.
#include "migration/testing/script.hpp"
#include "migration/testing/wire.hpp"
#include "migration/wire/bytes.hpp"
#include "migration/wire/delta_frame.hpp"
#include "migration/wire/messages.hpp"
#include "migration/wire/page_frame.hpp"

#include <gtest/gtest.h>

namespace aerate::migration {
namespace {

using namespace testing;

/// One connection of a source that says what it is told to say.
class RawStream {
public:
    RawStream(FileDescriptor socket, std::uint8_t number, const Session& session = known_session())
        : channel_(std::move(socket), interrupt_)
        , writer_(channel_, number, 2s)
        , reader_(channel_, number) {
        writer_.set_session(session);
        reader_.set_session(session);
    }
    void say(FrameKind kind, std::span<const std::byte> payload = {}) { (void)writer_.send(kind, payload); }
    template <typename Message>
    void say_message(FrameKind kind, const Message& message) {
        print(writer_.begin(), message);
        (void)writer_.send(kind);
    }
    void say_round_end(std::uint32_t number) {
        append(writer_.begin(), number);
        (void)writer_.send(FrameKind::round_end);
    }
    void say_pages(std::uint64_t first, std::uint32_t count, PageRun::Kind kind, std::byte content = std::byte{0x11}) {
        append_run(writer_.begin(), first, count, kind, content);
        (void)writer_.send(FrameKind::pages);
    }
    /// What is answered; nothing when the connection ends.
    std::optional<FrameKind> answer() {
        const auto frame = reader_.receive(2s);
        return frame ? std::optional(frame->kind) : std::nullopt;
    }
    void greeted() {
        Session none;
        std::swap(none, session_);
        reader_.set_session(session_);
        EXPECT_EQ(answer(), FrameKind::greeting);
        reader_.set_session(known_session());
    }
    [[nodiscard]] Transcript transcript() const { return writer_.transcript(); }

private:
    EventFd interrupt_ = std::move(*EventFd::create());
    Session session_ = known_session();
    SocketChannel channel_;
    FrameWriter writer_;
    FrameReader reader_;
};

/// A destination, and a source that has said hello.
class Visit {
public:
    explicit Visit(unsigned streams, std::uint64_t features = 0, std::chrono::milliseconds deadline = 400ms) {
        auto destination_end = connect();
        pollfd waits{listener_.fd(), POLLIN, 0};
        CHECK(::poll(&waits, 1, 2000) == 1);
        auto accepted = listener_.accept();
        CHECK(accepted);
        destination_.emplace(
            *std::move(accepted), guest,
            DestinationOptions{.deadline = deadline, .listener = &listener_, .session = known_session()});
        thread_ = std::jthread([this] {
            const auto report = destination_->receive();
            error_ = report ? "" : report.error().message;
        });
        control.emplace(std::move(destination_end), std::uint8_t{0});
        control->greeted();
        Hello hello;
        hello.features = features;
        hello.streams = streams;
        hello.regions = {{{0}, {8U << 20}}};
        hello.config = "a fake guest";
        control->say_message(FrameKind::hello, hello);
        EXPECT_EQ(control->answer(), FrameKind::accept);
    }
    [[nodiscard]] FileDescriptor connect() const {
        auto socket = connect_to(Endpoint::parse(listener_.where()).value(), 10s);
        CHECK(socket);
        return *std::move(socket);
    }
    [[nodiscard]] std::unique_ptr<RawStream> stream(std::uint8_t number,
                                                    const Session& session = known_session()) const {
        return std::make_unique<RawStream>(connect(), number, session);
    }
    [[nodiscard]] std::unique_ptr<RawStream> joined(std::uint8_t number) const {
        auto made = stream(number);
        made->say(FrameKind::join);
        EXPECT_EQ(made->answer(), FrameKind::accept);
        return made;
    }
    /// What the destination says of it in the end.
    std::string end() {
        control.reset();
        return error();
    }
    /// Without having been left.
    std::string error() {
        thread_.join();
        EXPECT_EQ(guest.running, error_.empty());
        EXPECT_TRUE(guest.running || guest.memory() == nullptr);
        return error_;
    }

    FakeDestination guest;
    std::optional<RawStream> control;

private:
    Listener listener_ = std::move(*Listener::open(Endpoint::parse("tcp:127.0.0.1:0").value()));
    std::optional<Destination> destination_;
    std::string error_;
    std::jthread thread_;
};

void expect_contains(const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text << ", not: " << part;
}

TEST(HostileStreams, M18_WhoDoesNotBelongToTheMigrationIsSentAwayAndTheOthersJoin) {
    Visit visit(3);
    Session other = known_session();
    other.value[3] = std::byte{0x45};
    for (const auto& [number, session] : {std::pair<std::uint8_t, Session>{1, other},
                                          {1, {}},
                                          {0, known_session()},
                                          {3, known_session()},
                                          {255, known_session()}}) {
        const auto stranger = visit.stream(number, session);
        stranger->say(FrameKind::join);
        EXPECT_NE(stranger->answer(), FrameKind::accept) << static_cast<int>(number);
    }
    const auto first = visit.joined(1);
    for (const FrameKind kind : {FrameKind::join, FrameKind::pages, FrameKind::hello}) {
        const auto twice = visit.stream(kind == FrameKind::join ? 1 : 2);
        twice->say(kind);
        EXPECT_NE(twice->answer(), FrameKind::accept);
    }
    {
        const FileDescriptor gone = visit.connect();
    }
    const auto second = visit.joined(2);
    auto& control = *visit.control;
    control.say_message(FrameKind::round, Round{1, true});
    control.say_pages(1, 2, PageRun::Kind::data);
    first->say_pages(512, 512, PageRun::Kind::zero);
    first->say_round_end(1);
    second->say_round_end(1);
    Transcript others = first->transcript();
    others.add(second->transcript());
    const std::array<std::byte, 3> state{std::byte{7}, std::byte{7}, std::byte{7}};
    control.say(FrameKind::state, state);
    control.say_message(FrameKind::state_end, StateEnd{3, {control.transcript().value + others.value, 0}});
    EXPECT_EQ(control.answer(), FrameKind::ready);
    control.say(FrameKind::go);
    EXPECT_EQ(control.answer(), FrameKind::ack);
    EXPECT_EQ(visit.end(), "");
}

TEST(HostileStreams, M18_StrangersHoldUpNobodyWhoBelongsThere) {
    Visit visit(2, 0, 20s);
    // Many who say nothing, or only a part, and many who say what is wrong.
    std::vector<FileDescriptor> silent;
    for (int i = 0; i < 40; ++i) {
        silent.push_back(visit.connect());
        const int part = i % 4;
        EXPECT_EQ(::send(silent.back().get(), "AER", static_cast<std::size_t>(part), MSG_NOSIGNAL), part);
    }
    for (int i = 0; i < 40; ++i) {
        const auto stranger = visit.stream(9);
        stranger->say(FrameKind::join);
        EXPECT_NE(stranger->answer(), FrameKind::accept);
    }
    const auto further = visit.joined(1);
    visit.control->say_message(FrameKind::round, Round{1, false});
    further->say_round_end(1);
    visit.control->say_message(FrameKind::round, Round{2, false});
    visit.control->say(FrameKind::error, std::as_bytes(std::span("enough")));
    expect_contains(visit.error(), "the source has ended the migration: enough");
}

TEST(HostileStreams, M18_StreamsThatDoNotJoinAreWaitedForOnlySoLong) {
    {
        Visit visit(2);
        const auto start = std::chrono::steady_clock::now();
        std::vector<FileDescriptor> silent;
        for (int i = 0; i < 16; ++i)
            silent.push_back(visit.connect());
        expect_contains(visit.error(), "1 of the source's 2 streams have not joined");
        EXPECT_LT(std::chrono::steady_clock::now() - start, 2s);
    }
    {
        Visit visit(2);
        visit.control->say_message(FrameKind::round, Round{1, false});
        expect_contains(visit.error(), "before all of its streams had joined");
    }
    {
        Visit visit(2);
        visit.control->say(FrameKind::error, std::as_bytes(std::span("no more")));
        expect_contains(visit.error(), "the source has ended the migration: no more");
    }
}

TEST(HostileStreams, M18_MoreStreamsThanThereMayBeOrThanCanJoin) {
    for (const unsigned streams : {0U, 17U, 255U}) {
        Hello hello;
        hello.streams = streams;
        hello.regions = {{{0}, {2U << 20}}};
        std::vector<std::byte> payload;
        print(payload, hello);
        const auto parsed = parse_hello(payload);
        ASSERT_FALSE(parsed);
        expect_contains(parsed.error().message, "1 to 16 are supported");
    }
}

TEST(HostileStreams, M18_EachStreamIsHeldToItsOwnPagesAndFrames) {
    struct Case {
        const char* why;
        std::function<void(RawStream& control, RawStream& further)> harm;
    };
    using enum PageRun::Kind;
    const std::vector<Case> cases{
        {"the wrong one", [](auto&, auto& further) { further.say_pages(5, 1, data); }},
        {"the wrong one", [](auto&, auto& further) { further.say_pages(1023, 2, zero); }},
        {"the wrong one", [](auto&, auto& further) { further.say_pages(512, 513, zero); }},
        {"the wrong one", [](auto& control, auto&) { control.say_pages(512, 1, data); }},
        {"the wrong one", [](auto& control, auto&) { control.say_pages(0, 1024, zero); }},
        {"not in the guest's memory", [](auto&, auto& further) { further.say_pages(~0ULL, 1, zero); }},
        {"came twice",
         [](auto&, auto& further) {
             further.say_pages(512, 1, data);
             further.say_pages(512, 1, zero);
         }},
        {"did not end as it should", [](auto&, auto& further) { further.say_round_end(2); }},
        {"did not end as it should", [](auto&, auto& further) { further.say(FrameKind::round_end); }},
        {"unexpectedly", [](auto&, auto& further) { further.say(FrameKind::go); }},
        {"unexpectedly", [](auto&, auto& further) { further.say(FrameKind::join); }},
        {"unexpectedly", [](auto&, auto& further) { further.say(FrameKind::deltas); }},
        {"unexpectedly", [](auto& control, auto&) { control.say_round_end(1); }},
        {"does not end", [](auto& control, auto&) { control.say(FrameKind::state, std::array{std::byte{7}}); }},
    };
    for (const Case& bad : cases) {
        Visit visit(2);
        const auto further = visit.joined(1);
        visit.control->say_message(FrameKind::round, Round{1, true});
        bad.harm(*visit.control, *further);
        expect_contains(visit.error(), bad.why);
    }
    // Nor does a round that is not the last end by itself.
    Visit visit(2);
    const auto further = visit.joined(1);
    visit.control->say_message(FrameKind::round, Round{1, false});
    visit.control->say_message(FrameKind::round, Round{2, true});
    expect_contains(visit.error(), "does not end");
}

/// One difference to a page that is all 0x11.
std::vector<std::byte> difference(std::uint64_t page, std::byte held = std::byte{0x11}) {
    std::array<std::byte, 4096> base;
    base.fill(held);
    std::array<std::byte, 4096> now = base;
    now[77] = std::byte{0x99};
    DeltaFrameBuilder builder;
    CHECK(builder.add({page}, base, now));
    const auto frame = builder.finish().subspan(frame_header_size);
    return {frame.begin(), frame.end()};
}

TEST(HostileStreams, M19_ADifferenceToSomethingElseIsRefused) {
    struct Case {
        const char* why;
        std::function<void(RawStream&)> harm;
    };
    using enum PageRun::Kind;
    const auto next_round = [](RawStream& control, std::uint32_t number) {
        control.say_message(FrameKind::round, Round{number, false});
    };
    const std::vector<Case> cases{
        {"content that is not here", [](auto& control) { control.say(FrameKind::deltas, difference(3)); }},
        {"content that is not here",
         [&](auto& control) {
             control.say_pages(3, 1, data, std::byte{0x12});
             next_round(control, 2);
             control.say(FrameKind::deltas, difference(3));
         }},
        {"content that is not here",
         [&](auto& control) {
             control.say_pages(3, 1, data);
             next_round(control, 2);
             control.say_pages(3, 1, zero);
             next_round(control, 3);
             control.say(FrameKind::deltas, difference(3));
         }},
        {"content that is not here", // zeros are no base, though they are what the page holds
         [&](auto& control) {
             control.say_pages(3, 1, zero);
             next_round(control, 2);
             control.say(FrameKind::deltas, difference(3, std::byte{0}));
         }},
        {"came twice",
         [](auto& control) {
             control.say_pages(3, 1, data);
             control.say(FrameKind::deltas, difference(3));
         }},
        {"not in the guest's memory", [](auto& control) { control.say(FrameKind::deltas, difference(2048)); }},
        {"not in the guest's memory", [](auto& control) { control.say(FrameKind::deltas, difference(~0ULL)); }},
    };
    for (const Case& bad : cases) {
        Visit visit(1, feature_delta);
        next_round(*visit.control, 1);
        bad.harm(*visit.control);
        expect_contains(visit.error(), bad.why);
    }
    // And one that is sound.
    Visit visit(1, feature_delta);
    next_round(*visit.control, 1);
    visit.control->say_pages(3, 1, data);
    next_round(*visit.control, 2);
    visit.control->say(FrameKind::deltas, difference(3));
    visit.control->say_message(FrameKind::round, Round{2, false});
    expect_contains(visit.error(), "round 2 after 2");
}

TEST(HostileStreams, M19_FramesOfDifferencesAreBoundedAndMakeAWholePageOrNothing) {
    for (const std::uint32_t count : {0U, 2U, 513U, ~0U}) {
        auto payload = difference(3);
        store_little_endian(std::span<std::byte>(payload), count);
        EXPECT_FALSE(parse_deltas(payload)) << count;
    }
    for (const std::uint32_t length : {0U, 2049U, ~0U}) {
        auto payload = difference(3);
        store_little_endian(std::span<std::byte>(payload).subspan(20), length);
        EXPECT_FALSE(parse_deltas(payload)) << length;
    }
    auto payload = difference(3);
    for (std::size_t length = 0; length < payload.size(); ++length)
        EXPECT_FALSE(parse_deltas(std::span(payload).first(length)));
    std::array<std::byte, 4096> base;
    base.fill(std::byte{0x11});
    unsigned refused = 0;
    for (std::size_t bit = 24 * 8; bit < payload.size() * 8; ++bit) {
        payload[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        const auto parsed = parse_deltas(payload);
        ASSERT_TRUE(parsed);
        auto page = base;
        if (!apply_delta(parsed->front(), page)) {
            ++refused;
            EXPECT_EQ(page, base);
        }
        payload[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    }
    EXPECT_GT(refused, 0U);
}

TEST(DeltaFrame, HoldsWhatDiffers) {
    std::mt19937_64 random(5);
    std::array<std::byte, 4096> base;
    for (std::byte& byte : base)
        byte = static_cast<std::byte>(random());
    auto now = base;
    for (int i = 0; i < 20; ++i)
        now[random() % now.size()] = static_cast<std::byte>(random());
    auto there = base;
    DeltaFrameBuilder builder;
    ASSERT_TRUE(builder.add({7}, base, now));
    EXPECT_EQ(base, now) << "the next difference is to this";
    const auto frame = builder.finish().subspan(frame_header_size);
    EXPECT_LT(frame.size(), 400U);
    const auto parsed = parse_deltas(frame);
    ASSERT_TRUE(parsed);
    ASSERT_EQ(parsed->size(), 1U);
    EXPECT_EQ(parsed->front().page, FrameNumber{7});
    EXPECT_TRUE(apply_delta(parsed->front(), there));
    EXPECT_EQ(there, now);
    // One that is all different is refused, and nothing changes.
    for (std::byte& byte : now)
        byte = static_cast<std::byte>(random());
    EXPECT_FALSE(builder.add({7}, base, now));
    EXPECT_EQ(base, there);
    EXPECT_TRUE(builder.empty());
}

} // namespace
} // namespace aerate::migration
