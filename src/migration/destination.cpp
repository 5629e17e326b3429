#include "migration/destination.hpp"

#include "memory/page_bitmap.hpp"
#include "migration/bytes.hpp"
#include "migration/channel.hpp"
#include "migration/frame.hpp"
#include "migration/incoming_streams.hpp"
#include "migration/memory_root.hpp"
#include "migration/messages.hpp"
#include "migration/page_intake.hpp"
#include "migration/receiver_phase.hpp"
#include "protocol/hand_off.hpp"

#include <algorithm>
#include <atomic>
#include <utility>

namespace aerate::migration {
namespace {

using Effect = protocol::HandOffDestination::Effect;
using Event = protocol::HandOffDestination::Event;

/// The source may write "given" to a slow disk before it sends GO, and this side waiting costs nobody anything.
constexpr int patience_for_go = 6;
/// How often the source may say nothing but that it is there.
constexpr unsigned alive_in_a_row = 64;
/// Long enough for the source to read what was said last.
constexpr std::chrono::milliseconds farewell{500};

} // namespace

class Destination::Engine {
public:
    Engine(FileDescriptor socket, DestinationGuest& guest, DestinationOptions options)
        : guest_(guest)
        , options_(options)
        , interrupt_(EventFd::create())
        , socket_(std::move(socket)) {}

    Result<DestinationReport> receive();
    DestinationProgress progress() { return {round_, ByteCount{received_} + further_.arrived()}; }
    void cancel() {
        cancelled_ = true;
        further_.cancel();
        if (interrupt_)
            interrupt_->signal();
    }

private:
    [[nodiscard]] Result<> greet();
    [[nodiscard]] Result<> take_frame();
    [[nodiscard]] Result<> take_hello(const Frame&);
    [[nodiscard]] Result<> take_round(const Frame&);
    [[nodiscard]] Result<> join_streams();
    [[nodiscard]] Result<> finish_round();
    [[nodiscard]] Result<> take_unneeded(const Frame&);
    [[nodiscard]] Result<> take_state(const Frame&);
    [[nodiscard]] Result<> sum_up();
    [[nodiscard]] Result<> take_state_end(const Frame&);
    [[nodiscard]] Result<> tell(Event);
    [[nodiscard]] Result<> claim();
    [[nodiscard]] Result<> run();
    [[nodiscard]] Result<> send(FrameKind, const auto& message);
    void give_up(const Error&);
    [[nodiscard]] bool verifies() const { return (hello_.features & feature_verify) != 0; }
    [[nodiscard]] bool in_ram(PageRange pages) const {
        return pages.first.value < memory_->address_space().value &&
               memory_->contains(address_of(pages.first), bytes_of(pages.count));
    }

    DestinationGuest& guest_;
    DestinationOptions options_;
    Result<EventFd> interrupt_;
    std::atomic<bool> cancelled_{false};
    std::atomic<unsigned> round_{0};
    std::atomic<std::uint64_t> received_{0}; ///< on the control stream
    FileDescriptor socket_;

    IncomingStreams further_{[this] { interrupt_->signal(); }};

    // From receive() on.
    std::unique_ptr<Connection> channel_;
    std::optional<FrameWriter> writer_;
    std::optional<FrameReader> reader_;
    protocol::HandOffDestination hand_off_;
    ReceiverPhase phase_ = ReceiverPhase::greeted;
    Session session_;
    std::optional<Lease::Terms> lease_;
    GuestMemory* memory_ = nullptr;
    DestinationReport report_;
    unsigned alive_ = 0;
    std::uint64_t elsewhere_ = 0; ///< frames on further streams, when last looked at
    Hello hello_;
    std::optional<PageIntake> intake_;
    PageIntake::Lane lane_; ///< the control stream's
    bool round_open_ = false;
    PageBitmap unneeded_;
    FrameNumber unneeded_from_;
    std::vector<std::byte> state_;
    Transcript before_; ///< what was received before the frame at hand
    Sums sums_;
    bool running_ = false;
    bool open_ = false; ///< the connection: something can be said
};

Result<DestinationReport> Destination::Engine::receive() {
    if (!interrupt_)
        return std::unexpected(interrupt_.error());
    channel_ = connect_channel(std::move(socket_), *interrupt_, options_.tls, TlsSide::server);
    writer_.emplace(*channel_, 0, options_.deadline);
    reader_.emplace(*channel_, 0);
    hand_off_.has_lease = options_.lease != nullptr;
    auto result = greet();
    while (result && !running_)
        result = take_frame();
    if (!result) {
        // A stream that breaks interrupts this one: it knows why.
        const Error why = further_.failure().value_or(std::move(result).error());
        give_up(why);
        return std::unexpected(why);
    }
    const auto further = further_.sums();
    report_.wire = reader_->received() + further_.received();
    report_.pages = lane_.pages + further.pages;
    report_.deltas = lane_.deltas + further.deltas;
    report_.zero = lane_.zero + further.zero;
    return report_;
}

Result<> Destination::Engine::send(FrameKind kind, const auto& message) {
    print(writer_->begin(), message);
    return writer_->send(kind);
}

Result<> Destination::Engine::greet() {
    if (options_.lease != nullptr)
        lease_ = TRY(options_.lease->terms());
    TRY(channel_->open(options_.deadline));
    open_ = true;
    session_ = options_.session ? *options_.session : Session::random();
    TRY(send(FrameKind::greeting, Greeting{.session = session_}));
    writer_->set_session(session_);
    reader_->set_session(session_);
    return {};
}

Result<> Destination::Engine::take_frame() {
    if (cancelled_)
        return fail("the migration was cancelled");
    before_ = reader_->transcript();
    const auto limit = options_.deadline * (phase_ == ReceiverPhase::ready ? patience_for_go : 1);
    const Frame frame = TRY(reader_->receive(limit));
    received_ = reader_->received().value;
    if (!may_come(frame.kind, phase_))
        return fail("the source sent {} when that may not come", name_of(frame.kind));
    const auto elsewhere = further_.frames();
    alive_ = frame.kind == FrameKind::alive && elsewhere == std::exchange(elsewhere_, elsewhere) ? alive_ + 1 : 0;
    switch (frame.kind) {
    case FrameKind::hello:
        return take_hello(frame);
    case FrameKind::round:
        return take_round(frame);
    case FrameKind::pages:
        return intake_->take_pages(frame.payload, lane_);
    case FrameKind::deltas:
        if ((hello_.features & feature_delta) == 0)
            return fail("the source sent deltas when that may not come: they were not agreed on");
        return intake_->take_deltas(frame.payload, lane_);
    case FrameKind::unneeded:
        return take_unneeded(frame);
    case FrameKind::state:
        return take_state(frame);
    case FrameKind::sum_up:
        return sum_up();
    case FrameKind::state_end:
        return take_state_end(frame);
    case FrameKind::go:
        return tell(Event::go);
    case FrameKind::error:
        return fail("the source has ended the migration: {}", parse_error(frame.payload));
    default: // alive
        if (alive_ > alive_in_a_row)
            return fail("the source is there, but does nothing");
        return {};
    }
}

Result<> Destination::Engine::take_hello(const Frame& frame) {
    hello_ = TRY(parse_hello(frame.payload));
    const Hello& hello = hello_;
    TRY(check_peer(hello, lease_));
    if (hello.streams > 1 && options_.listener == nullptr)
        return fail("the source wants {} streams: there is nowhere that they could join", hello.streams);
    memory_ = TRY(guest_.prepare(hello.config, hello.regions));
    const bool as_asked =
        std::ranges::equal(memory_->regions(), hello.regions, [](const MappedRegion& ours, const MemoryRegion& theirs) {
            return ours.guest.start == theirs.start && ours.guest.length == theirs.length;
        });
    if (!as_asked)
        return fail("the VM that was prepared here has other memory than the source's");
    const CompressionKinds compression{.lz4 = (hello.features & feature_lz4) != 0,
                                       .zstd = (hello.features & feature_zstd) != 0};
    intake_.emplace(*memory_, compression, hello.streams);
    unneeded_ = PageBitmap(memory_->address_space());
    phase_ = ReceiverPhase::prepared;
    TRY(writer_->send(FrameKind::accept, {}));
    return hello.streams > 1 ? join_streams() : Result<>();
}

Result<> Destination::Engine::join_streams() {
    auto joined = further_.join(*options_.listener,
                                {.session = session_,
                                 .streams = hello_.streams,
                                 .deltas = (hello_.features & feature_delta) != 0,
                                 .tls = options_.tls,
                                 .deadline = options_.deadline},
                                *intake_, *channel_, *interrupt_);
    if (joined || !further_.control_spoke())
        return joined;
    const Frame frame = TRY(reader_->receive(options_.deadline));
    if (frame.kind == FrameKind::error)
        return fail("the source has ended the migration: {}", parse_error(frame.payload));
    return joined;
}

/// Nothing of it is under way any more, on any stream.
Result<> Destination::Engine::finish_round() {
    return std::exchange(round_open_, false) ? further_.finish_round(report_.rounds) : Result<>();
}

Result<> Destination::Engine::take_round(const Frame& frame) {
    const Round round = TRY(parse_round(frame.payload));
    if (round.number != report_.rounds + 1 || round.number > options_.max_rounds)
        return fail("round {} after {} rounds, of at most {}", round.number, report_.rounds, options_.max_rounds);
    TRY(finish_round());
    round_ = report_.rounds = round.number;
    intake_->begin_round(round.number);
    round_open_ = true;
    further_.open_round(round.number, round.last);
    phase_ = round.last ? ReceiverPhase::last_round : ReceiverPhase::round;
    return {};
}

Result<> Destination::Engine::take_unneeded(const Frame& frame) {
    TRY(finish_round());
    phase_ = ReceiverPhase::state;
    ByteReader reader(frame.payload);
    if (reader.left() == 0)
        return fail("a list of unneeded ranges is empty");
    while (reader.left() > 0) {
        const FrameNumber first{reader.take<std::uint64_t>()};
        const PageRange range{first, {reader.take<std::uint64_t>()}};
        // Ascending, so that there cannot be more of them than pages.
        if (range.count.value == 0 || range.count > whole_pages_of(memory_->size()) || first < unneeded_from_ ||
            !in_ram(range))
            return fail("a list of unneeded ranges is malformed");
        unneeded_.set(range);
        unneeded_from_ = range.end();
    }
    return {};
}

Result<> Destination::Engine::take_state(const Frame& frame) {
    TRY(finish_round());
    phase_ = ReceiverPhase::state;
    if (frame.payload.empty() || state_.size() + frame.payload.size() > max_state)
        return fail("the devices' state is empty or larger than {} bytes", max_state);
    state_.insert(state_.end(), frame.payload.begin(), frame.payload.end());
    return {};
}

Result<> Destination::Engine::sum_up() {
    TRY(finish_round());
    if (!verifies())
        return fail("the source sent {} when that may not come: it was not agreed on", name_of(FrameKind::sum_up));
    phase_ = ReceiverPhase::summed_up;
    const auto root = memory_root(*memory_, unneeded_, [this] { return !cancelled_; });
    if (!root)
        return fail("the migration was cancelled");
    sums_.memory = *root;
    return {};
}

Result<> Destination::Engine::take_state_end(const Frame& frame) {
    TRY(finish_round());
    if (verifies() && phase_ != ReceiverPhase::summed_up)
        return fail("the source sent {} when that may not come: memory was to be summed up before",
                    name_of(FrameKind::state_end));
    phase_ = ReceiverPhase::state;
    const StateEnd end = TRY(parse_state_end(frame.payload));
    const auto check = [&]() -> Result<> {
        if (end.length != state_.size() || end.sums.frames != before_.value + further_.transcript().value)
            return fail("source and destination do not agree on what was sent");
        sums_.frames = reader_->transcript().value + further_.transcript().value;
        if (verifies() && sums_.memory != end.sums.memory)
            return fail("the memory that arrived is not the memory that was sent");
        report_.verified = verifies();
        further_.stop(); // their threads have nothing left to do
        return guest_.load(state_);
    };
    if (auto checked = check(); !checked) {
        (void)tell(Event::bad_state);
        return checked;
    }
    return tell(Event::state);
}

Result<> Destination::Engine::tell(Event event) {
    const auto effect = protocol::step(hand_off_, event);
    if (!effect)
        return {};
    switch (*effect) {
    case Effect::send_ready:
        phase_ = ReceiverPhase::ready;
        return send(FrameKind::ready, sums_);
    case Effect::claim:
        return claim();
    case Effect::run_and_ack:
        return run();
    case Effect::send_mismatch: // give_up() says it
    case Effect::discard:
        return {};
    }
    return {};
}

/// An error means that nobody knows who has the lease: then it does not run here.
Result<> Destination::Engine::claim() {
    channel_->ignore_interrupts();
    const auto won = options_.lease->claim(*lease_, session_, Side::destination);
    if (won && *won)
        return tell(Event::won);
    (void)tell(Event::lost);
    if (!won)
        return std::unexpected(won.error());
    return fail("the source has taken the guest back: GO came too late");
}

Result<> Destination::Engine::run() {
    channel_->ignore_interrupts();
    TRY(guest_.run());
    running_ = true;
    // It runs, whether or not the source hears of it.
    if (writer_->send(FrameKind::ack, {}))
        channel_->finish(std::min(farewell, options_.deadline));
    return {};
}

void Destination::Engine::give_up(const Error& error) {
    (void)tell(Event::trouble);
    further_.stop();
    if (memory_ != nullptr)
        guest_.discard();
    channel_->ignore_interrupts();
    const auto patience = std::min(farewell, options_.deadline);
    if (!open_)
        return channel_->finish(patience);
    const auto text = std::as_bytes(std::span(error.message)).first(std::min<std::size_t>(error.message.size(), 1024));
    writer_->set_limit(patience);
    if (writer_->send(FrameKind::error, text))
        channel_->finish(patience);
}

Destination::Destination(FileDescriptor socket, DestinationGuest& guest, DestinationOptions options)
    : engine_(std::make_unique<Engine>(std::move(socket), guest, options)) {}
Destination::~Destination() = default;
Result<DestinationReport> Destination::receive() {
    return engine_->receive();
}
DestinationProgress Destination::progress() const {
    return engine_->progress();
}
void Destination::cancel() {
    engine_->cancel();
}

} // namespace aerate::migration
