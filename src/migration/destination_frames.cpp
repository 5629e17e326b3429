#include "migration/destination_engine.hpp"
#include "migration/memory_root.hpp"
#include "migration/wire/bytes.hpp"

#include <algorithm>
#include <utility>

namespace aerate::migration {
namespace {

using Event = protocol::HandOffDestination::Event;

/// The source may write "given" to a slow disk before it sends GO, and waiting here costs nothing.
constexpr int patience_for_go = 6;
/// For how many deadlines the source may make no progress: it waits for hints, devices and disks meanwhile.
constexpr int patience_for_progress = 18;
/// At which a source that was asked to verify reads its memory, at least.
constexpr std::uint64_t slowest_verify = 256U << 20;

} // namespace

Result<> Destination::Engine::take_frame() {
    if (cancelled_)
        return fail("the migration was cancelled");
    before_ = reader_->transcript();
    const auto limit = options_.deadline * (phase_ == ReceiverPhase::ready ? patience_for_go : 1);
    const Frame frame = TRY(reader_->receive(limit));
    received_ = reader_->received().value;
    if (!may_come(frame.kind, phase_))
        return fail("the source sent {} unexpectedly", name_of(frame.kind));
    // A round, or a word that it is there, costs the source nothing.
    if (frame.kind != FrameKind::round && frame.kind != FrameKind::alive)
        of_use_ += ByteCount{frame_header_size + frame.payload.size()};
    TRY(expect_progress());
    switch (frame.kind) {
    case FrameKind::hello:
        return take_hello(frame);
    case FrameKind::attachment:
        return take_attachment(frame);
    case FrameKind::round:
        return take_round(frame);
    case FrameKind::pages:
        return intake_->take_pages(frame.payload, lane_);
    case FrameKind::deltas:
        if ((hello_.features & feature_delta) == 0)
            return fail("the source sent deltas unexpectedly: they were not negotiated");
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
        return {};
    }
}

Result<> Destination::Engine::expect_progress() {
    const auto now = ProgressClock::Clock::now();
    progress_.advance(of_use_ + further_.arrived(), now);
    const auto idle = progress_.idle(now);
    if (idle > options_.deadline * patience_for_progress)
        return fail("the source is connected, but has made no progress for {} s",
                    std::chrono::duration_cast<std::chrono::seconds>(idle).count());
    return {};
}

Result<> Destination::Engine::take_hello(const Frame& frame) {
    hello_ = TRY(parse_hello(frame.payload));
    const Hello& hello = hello_;
    TRY(check_peer(hello, lease_));
    ByteCount memory;
    for (const MemoryRegion& region : hello.regions)
        memory += region.length;
    if (memory > options_.max_memory)
        return fail("the guest has {} MiB of memory, and at most {} MiB are accepted here: --max-memory allows more",
                    memory.value >> 20, options_.max_memory.value >> 20);
    if (hello.streams > 1 && options_.listener == nullptr)
        return fail("the source wants {} streams: there is no listener for them to connect to", hello.streams);
    memory_ = TRY(guest_.prepare(hello.config, hello.regions));
    const bool as_asked =
        std::ranges::equal(memory_->regions(), hello.regions, [](const MappedRegion& ours, const MemoryRegion& theirs) {
            return ours.guest.start == theirs.start && ours.guest.length == theirs.length;
        });
    if (!as_asked)
        return fail("the VM that was prepared here has a different memory layout from the source");
    const CompressionKinds compression{.lz4 = (hello.features & feature_lz4) != 0,
                                       .zstd = (hello.features & feature_zstd) != 0};
    intake_ = TRY(PageIntake::create(*memory_, compression, hello.streams));
    unneeded_ = TRY(PageBitmap::create(memory_->address_space()));
    phase_ = ReceiverPhase::prepared;
    TRY(writer_->send(FrameKind::accept, {}));
    if (hello.streams > 1)
        TRY(join_streams());
    if (options_.joined)
        options_.joined();
    return {};
}

Result<> Destination::Engine::join_streams() {
    auto joined = further_.join(*options_.listener,
                                {.session = session_,
                                 .streams = hello_.streams,
                                 .deltas = (hello_.features & feature_delta) != 0,
                                 .tls = options_.tls,
                                 .deadline = options_.deadline},
                                *intake_, *channel_, *interrupt_);
    if (joined || !further_.control_readable())
        return joined;
    const Frame frame = TRY(reader_->receive(options_.deadline));
    if (frame.kind == FrameKind::error)
        return fail("the source has ended the migration: {}", parse_error(frame.payload));
    return joined;
}

/// Waits until no stream has anything of the round under way.
Result<> Destination::Engine::finish_round() {
    if (!std::exchange(round_open_, false))
        return {};
    TRY(intake_->end_round(lane_));
    return further_.finish_round(report_.rounds);
}

/// Takes an attachment, whose size is bounded by what the guest could boot with.
Result<> Destination::Engine::take_attachment(const Frame& frame) {
    if ((hello_.features & feature_attachments) == 0)
        return fail("the source sent {} unexpectedly: it was not negotiated", name_of(frame.kind));
    const AttachmentPiece piece = TRY(parse_attachment(frame.payload));
    Attached& attached = attached_[piece.kind];
    const ByteCount limit = std::min(attachment_max, memory_->size());
    if (piece.length > limit.value || (attached.length != 0 && attached.length != piece.length) ||
        piece.bytes.size() > piece.length - attached.done)
        return fail("the source sent an attachment that is malformed, or larger than {} bytes", limit.value);
    attached.length = piece.length;
    attached.done += piece.bytes.size();
    return guest_.attach(static_cast<Attachment::Kind>(piece.kind), {piece.length}, piece.bytes);
}

Result<> Destination::Engine::take_round(const Frame& frame) {
    for (const Attached& attached : attached_)
        if (attached.done != attached.length)
            return fail("the source began to send the guest's kernel or initrd, and did not finish");
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
        return fail("the source sent {} unexpectedly: it was not negotiated", name_of(FrameKind::sum_up));
    phase_ = ReceiverPhase::summed_up;
    progress_.grant(std::chrono::seconds(memory_->size().value / slowest_verify), ProgressClock::Clock::now());
    const auto root = TRY(memory_root(*memory_, unneeded_, [this] { return !cancelled_; }));
    if (!root)
        return fail("the migration was cancelled");
    sums_.memory = *root;
    return {};
}

Result<> Destination::Engine::take_state_end(const Frame& frame) {
    TRY(finish_round());
    if (verifies() && phase_ != ReceiverPhase::summed_up)
        return fail("the source sent {} unexpectedly: the memory checksum comes first", name_of(FrameKind::state_end));
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
        intake_->finish();
        return guest_.load(state_);
    };
    if (auto checked = check(); !checked) {
        (void)tell(Event::bad_state);
        return checked;
    }
    return tell(Event::state);
}

} // namespace aerate::migration
