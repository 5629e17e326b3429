#include "migration/source.hpp"

#include "base/log.hpp"
#include "migration/given.hpp"
#include "migration/source_engine.hpp"

namespace aerate::migration {
namespace {

constexpr std::chrono::milliseconds progress_period{250};

} // namespace

void Source::Engine::begin() {
    began_ = Clock::now();
    begin_step(TimelineStep::Kind::connecting);
    enter(Phase::connecting);
    if (auto connected = connect(); !connected)
        return trouble(std::move(connected).error());
    begin_step(TimelineStep::Kind::tracking);
    if (auto tracked = guest_.start_tracking(); !tracked)
        return trouble(std::move(tracked).error());
    tracking_ = true;
    input_ = loop().watch(link_->fd(), [this] { receive(); });
    progress_timer_ = loop().every(progress_period, [this] { report(); });
    alive_timer_ = loop().every(options_.deadline / 4, [this] { keep_alive(); });
    const PageCount size = guest_.memory().address_space();
    auto& layers = precopy_.layers;
    auto nothing = protocol::PageLayers<PagesFromLowest>::create(size);
    if (!nothing)
        return trouble(std::move(nothing).error());
    layers = *std::move(nothing);
    // Writes are tracked already: what is not populated now reads as zero, as it does at the destination, until it is
    // in the log. So nothing of it is ever sent, and a large guest that uses little costs little.
    guest_.memory().collect_populated(layers.pending.filling());
    gathered_ = Clock::now();
    tell(RoundEvent::start);
}

Result<> Source::Engine::connect() {
    if (!interrupt_)
        return std::unexpected(interrupt_.error());
    CHECK(options_.streams >= 1 && options_.streams <= max_streams && options_.connect);
    link_.emplace(connect_channel(TRY(options_.connect(*interrupt_)), *interrupt_, options_.tls, TlsSide::client),
                  options_.deadline);
    hand_off_.has_lease = options_.lease != nullptr;
    if (options_.lease != nullptr)
        lease_ = TRY(options_.lease->terms());
    Hello hello{.features = always_used, .lease = {}, .regions = {}, .config = {}};
    if (options_.verify)
        hello.features |= feature_verify;
    for (const CompressionSetting& form : options_.compression)
        hello.features |= form.kind == Compression::lz4 ? feature_lz4 : feature_zstd;
    if (options_.delta_cache > ByteCount{})
        hello.features |= feature_delta;
    hello.streams = options_.streams;
    hello.lease = lease_;
    hello.config = guest_.config();
    for (const MappedRegion& region : guest_.memory().regions())
        hello.regions.push_back(region.guest);
    if (hello.config.size() > max_config || hello.regions.size() > max_regions)
        return fail("the VM's configuration is too large to send");
    TRY(link_->shake_hands(hello));
    streams_ = std::make_unique<OutgoingStreams>(
        loop(), *link_, guest_.memory(), options_, *interrupt_,
        OutgoingStreams::Callbacks{.sent = [this](const OutgoingStreams::Sent& sent) { account(sent); },
                                   .round_ended = [this] { round_ended(); },
                                   .failed = [this](Error error) { trouble(link_->explained(std::move(error))); }});
    TRY(streams_->join());
    const auto attachments = guest_.attachments();
    if (!attachments.empty() && !TRY(link_->send_attachments(attachments)))
        log::warning(
            "the destination is of an older release and does not accept the guest's kernel: there the guest cannot "
            "reset itself, unless the kernel's file is there too");
    return {};
}

void Source::Engine::handle_cancel() {
    using enum HandOff::Phase;
    if (hand_off_.phase == copying || hand_off_.phase == offered || hand_off_.phase == recording)
        trouble({"the migration was cancelled", 0});
}

bool Source::Engine::answered() {
    asked_ = false;
    if (error_)
        trouble(*error_);
    return !error_;
}

/// Does one thing after the other: the guest answers what it was asked, then hints are closed, and then it is told.
void Source::Engine::trouble(Error error, HandOff::Event what) {
    CHECK(loop().owned_here());
    if (ended_)
        return;
    if (!error_)
        error_ = std::move(error);
    hints_.stop_waiting();
    if (streams_)
        streams_->stop();
    // A broken connection would report itself again and again.
    input_.cancel();
    if (asked_)
        return;
    if (hinting_)
        return close_hints();
    tell(what);
}

/// Resumes the guest first: nothing else is urgent.
void Source::Engine::resume() {
    (void)protocol::step(precopy_, {RoundEvent::cancel, {}});
    if (tracking_) {
        guest_.run_on();
        if (frozen_ != Clock::time_point{})
            downtime_ = since(frozen_);
        guest_.stop_tracking();
        if (progress_.throttle > 0)
            guest_.throttle(0);
    }
    forget_given(record_path_);
    if (link_)
        link_->send_error(error_ ? error_->message : "");
    end(Outcome::stayed);
}

void Source::Engine::end(Outcome outcome) {
    ended_ = true;
    for (Subscription* subscription : {&input_, &progress_timer_, &alive_timer_, &answer_timer_})
        subscription->cancel();
    enter(Phase::ended);
    SourceResult result;
    result.outcome = outcome;
    result.last = progress_;
    result.total = since(began_);
    if (outcome != Outcome::moved && error_)
        result.error = error_->message;
    result.downtime = downtime_;
    timeline_.end(result.total, on_the_wire());
    result.timeline = timeline_.steps();
    // Not before the guest has gone on: a stream may be in the midst of a system call.
    if (streams_) {
        streams_->stop();
        streams_->finish();
    }
    if (link_)
        link_->hang_up();
    callbacks_.finished(std::move(result));
}

void Source::Engine::enter(Phase phase) {
    progress_.phase = phase;
    report();
}

void Source::Engine::begin_step(TimelineStep::Kind kind) {
    timeline_.begin(kind, progress_.round, since(began_), on_the_wire());
}

ByteCount Source::Engine::on_the_wire() const {
    return link_ ? link_->sent() + (streams_ ? streams_->wire() : ByteCount{}) : ByteCount{};
}

void Source::Engine::report() {
    progress_.wire = on_the_wire();
    progress_.throughput = throughput_.per_second();
    if (progress_.phase == Phase::copying || progress_.phase == Phase::hinting)
        look_at_pending();
    if (callbacks_.progress)
        callbacks_.progress(progress_);
}

/// Keeps the connection alive while hints are awaited, the guest comes to rest, or memory is summed up.
void Source::Engine::keep_alive() {
    if (ended_ || error_ || hand_off_.phase != HandOff::Phase::copying)
        return;
    if (link_->sent() == std::exchange(sent_when_last_looked_, link_->sent()))
        if (auto sent = link_->send_alive(); !sent)
            trouble(std::move(sent).error());
}

Source::Source(SourceGuest& guest, SourceOptions options, Callbacks callbacks)
    : engine_(std::make_unique<Engine>(guest, std::move(options), std::move(callbacks))) {}
Source::~Source() = default;
Result<> Source::start() {
    return engine_->start();
}
void Source::cancel() {
    engine_->cancel();
}

} // namespace aerate::migration
