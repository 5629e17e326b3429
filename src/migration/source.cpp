#include "migration/source.hpp"

#include "base/check.hpp"
#include "event/loop_thread.hpp"
#include "migration/convergence.hpp"
#include "migration/page_sets.hpp"
#include "migration/source_link.hpp"
#include "protocol/hand_off.hpp"
#include "protocol/precopy.hpp"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

namespace aerate::migration {
namespace {

using Clock = std::chrono::steady_clock;
using Phase = SourceProgress::Phase;
using Precopy = protocol::Precopy<PagesFromLowest>;
using RoundEvent = protocol::PrecopyEvent::Kind;
using RoundEffect = protocol::PrecopyEffect::Kind;
using HandOff = protocol::HandOffSource;

/// Looked at in one turn of the loop, so that hints and the other side get theirs.
constexpr PageCount pages_a_turn{4096};
constexpr std::chrono::milliseconds progress_period{250};
/// At which a destination that was asked to verify reads its memory, at least.
constexpr std::uint64_t slowest_verify = 256U << 20;

std::chrono::microseconds since(Clock::time_point then) {
    return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - then);
}

} // namespace

class Source::Engine {
public:
    Engine(FileDescriptor socket, SourceGuest& guest, SourceOptions options, Callbacks callbacks)
        : guest_(guest)
        , options_(std::move(options))
        , callbacks_(std::move(callbacks))
        , socket_(std::move(socket))
        , interrupt_(EventFd::create()) {}
    ~Engine() {
        thread_.stop();
        CHECK(!started_ || ended_);
    }

    void start() {
        started_ = true;
        loop().post([this] { begin(); });
        thread_.start();
    }
    void cancel() {
        cancelled_ = true;
        if (interrupt_)
            interrupt_->signal();
        loop().post([this] { heed_cancel(); });
    }

private:
    EventLoop& loop() { return thread_.loop(); }

    void begin();
    [[nodiscard]] Result<> connect();
    void tell(RoundEvent kind, PageRange pages = {});
    void gather();
    void publish();
    void wait_for_hints();
    void look_for_hints();
    void after_hints();
    void pump();
    void pump_soon();
    [[nodiscard]] bool flush();
    void close_hints();
    void freeze();
    void save();
    void offer(Result<std::vector<std::byte>> state);
    [[nodiscard]] Result<std::uint64_t> root();

    void tell(HandOff::Event);
    void send_state();
    void record();
    void send_go();
    void claim();
    void receive();

    void heed_cancel();
    void trouble(Error);
    void resume();
    void end(Outcome);
    /// True when what comes next may go ahead, after the guest has answered a question.
    [[nodiscard]] bool answered();
    void enter(Phase);
    void report();
    void keep_alive();

    SourceGuest& guest_;
    SourceOptions options_;
    Callbacks callbacks_;
    FileDescriptor socket_;
    Result<EventFd> interrupt_;
    std::atomic<bool> cancelled_{false};
    bool started_ = false;
    LoopThread thread_{"migration"};

    // The migration's thread.
    std::optional<SourceLink> link_;
    Precopy precopy_;
    HandOff hand_off_;
    std::optional<Lease::Terms> lease_;
    std::string record_path_;
    SourceProgress progress_;
    Throughput throughput_;
    Throttle throttle_;

    bool tracking_ = false;
    bool asked_ = false;   ///< the guest owes an answer
    bool hinting_ = false; ///< start_hinting() was answered, stop_hinting() not
    bool ended_ = false;
    std::optional<Error> error_;

    PageFrameBuilder builder_;
    Compressor compressor_{options_.compression};
    CompressionChoice choice_;
    PageRange carried_; ///< taken out of pending, for the next frame
    bool pump_queued_ = false;
    PageCount sent_in_round_;
    Clock::time_point began_;
    Clock::time_point gathered_;
    Clock::time_point frozen_;
    Clock::time_point paced_until_;
    ByteCount sent_when_last_looked_;

    bool waiting_for_hints_ = false;
    Clock::time_point hints_since_;
    Clock::time_point last_hint_;
    std::chrono::microseconds hints_for_{};
    bool any_hint_ = false;

    std::vector<std::byte> state_;
    std::uint64_t memory_root_ = 0;
    Sums expected_;

    Subscription input_;
    Subscription progress_timer_;
    Subscription alive_timer_;
    Subscription pump_timer_;
    Subscription hint_timer_;
    Subscription answer_timer_;
};

// Beginning

void Source::Engine::begin() {
    began_ = Clock::now();
    enter(Phase::connecting);
    if (auto connected = connect(); !connected)
        return trouble(std::move(connected).error());
    if (auto tracked = guest_.start_tracking(); !tracked)
        return trouble(std::move(tracked).error());
    tracking_ = true;
    input_ = loop().watch(link_->fd(), [this] { receive(); });
    progress_timer_ = loop().every(progress_period, [this] { report(); });
    alive_timer_ = loop().every(options_.deadline / 4, [this] { keep_alive(); });
    const PageCount size = guest_.memory().address_space();
    auto& layers = precopy_.layers;
    for (PagesFromLowest* set : {&layers.log, &layers.discarded, &layers.absent, &layers.pending, &layers.hinted})
        *set = PagesFromLowest(size);
    for (const MappedRegion& region : guest_.memory().regions())
        layers.pending.set({frame_of(region.guest.start), whole_pages_of(region.guest.length)});
    gathered_ = Clock::now();
    tell(RoundEvent::start);
}

Result<> Source::Engine::connect() {
    if (!interrupt_)
        return std::unexpected(interrupt_.error());
    link_.emplace(std::move(socket_), *interrupt_, options_.deadline);
    hand_off_.has_lease = options_.lease != nullptr;
    if (options_.lease != nullptr)
        lease_ = TRY(options_.lease->terms());
    Hello hello;
    if (options_.verify)
        hello.features |= feature_verify;
    if (options_.compression != Compression::none)
        hello.features |= options_.compression == Compression::lz4 ? feature_lz4 : feature_zstd;
    hello.lease = lease_;
    hello.config = guest_.config();
    for (const MappedRegion& region : guest_.memory().regions())
        hello.regions.push_back(region.guest);
    if (hello.config.size() > max_config || hello.regions.size() > max_regions)
        return fail("the VM's configuration is too large to send");
    return link_->shake_hands(hello);
}

// Rounds

/// Carries out what the event leads to, and what that leads to, as far as it can be done at once.
void Source::Engine::tell(RoundEvent kind, PageRange pages) {
    const auto effect = protocol::step(precopy_, {kind, pages});
    if (!effect)
        return;
    switch (effect->kind) {
    case RoundEffect::gather:
        return gather();
    case RoundEffect::publish:
        return publish();
    case RoundEffect::close:
        return close_hints();
    case RoundEffect::freeze:
        return freeze();
    case RoundEffect::send: // these four are pump()'s
    case RoundEffect::send_zero:
    case RoundEffect::drained:
    case RoundEffect::hand_over:
    case RoundEffect::run_on: // resume() does it
        return;
    }
}

void Source::Engine::gather() {
    auto& layers = precopy_.layers;
    guest_.gather(layers.log.filling(), layers.discarded.filling());
    const PageCount written = layers.log.count();
    const auto took = std::max<std::int64_t>(since(std::exchange(gathered_, Clock::now())).count(), 1);
    progress_.dirty_per_second = {written.value * 1'000'000 / static_cast<std::uint64_t>(took)};
    if (options_.auto_converge && progress_.round > 0 &&
        throttle_.round(sent_in_round_, written) != progress_.throttle) {
        progress_.throttle = throttle_.percent();
        guest_.throttle(progress_.throttle);
    }
    sent_in_round_ = {};
    ++progress_.round;
    const bool last = precopy_.phase == Precopy::Phase::collecting;
    if (auto sent = link_->send_round({progress_.round, last}); !sent)
        return trouble(std::move(sent).error());
    tell(RoundEvent::gathered);
    if (last)
        pump_soon();
}

void Source::Engine::publish() {
    progress_.pending = precopy_.layers.pending.count();
    // A last round that fits as it is needs no hints.
    if (throughput_.time_for(progress_.pending) <= options_.downtime_limit || options_.hint_limit.count() == 0) {
        tell(RoundEvent::published);
        return after_hints();
    }
    enter(Phase::hinting);
    asked_ = true;
    guest_.start_hinting({.hinted =
                              [this](PageRange range) {
                                  loop().post([this, range] {
                                      any_hint_ = true;
                                      last_hint_ = Clock::now();
                                      progress_.hinted += precopy_.layers.pending.bits().count(range);
                                      tell(RoundEvent::hinted, range);
                                  });
                              },
                          .round_over =
                              [this] {
                                  loop().post([this] {
                                      if (waiting_for_hints_)
                                          after_hints();
                                  });
                              }},
                         [this](bool published) {
                             loop().post([this, published] {
                                 hinting_ = published;
                                 if (!answered())
                                     return;
                                 tell(RoundEvent::published);
                                 published ? wait_for_hints() : after_hints();
                             });
                         });
}

void Source::Engine::wait_for_hints() {
    waiting_for_hints_ = true;
    any_hint_ = false;
    hints_since_ = last_hint_ = Clock::now();
    hints_for_ = options_.hint_limit;
    if (progress_.round > 1)
        hints_for_ = std::min(hints_for_, throughput_.time_for(progress_.pending));
    hint_timer_ =
        loop().every(std::max(options_.hint_pause / 4, std::chrono::milliseconds(1)), [this] { look_for_hints(); });
}

void Source::Engine::look_for_hints() {
    const auto pause = any_hint_ ? options_.hint_pause : options_.hint_start;
    if (since(hints_since_) >= hints_for_ || since(last_hint_) >= pause)
        after_hints();
}

void Source::Engine::after_hints() {
    waiting_for_hints_ = false;
    hint_timer_.cancel();
    if (precopy_.phase != Precopy::Phase::copying)
        return;
    progress_.pending = precopy_.layers.pending.count();
    progress_.expected = throughput_.time_for(progress_.pending);
    const Convergence convergence{options_.downtime_limit, options_.max_rounds, options_.stop_anyway};
    switch (convergence.judge(progress_.round, progress_.expected)) {
    case Verdict::finish:
        return tell(RoundEvent::finish);
    case Verdict::give_up:
        return trouble(
            {fmt::format("after {} rounds stopping the guest would still take {} ms, {} are allowed: it writes "
                         "faster than the link carries",
                         options_.max_rounds, progress_.expected.count() / 1000, options_.downtime_limit.count()),
             0});
    case Verdict::go_on:
        enter(Phase::copying);
        return pump_soon();
    }
}

void Source::Engine::pump_soon() {
    if (std::exchange(pump_queued_, true))
        return;
    const auto pause = std::chrono::duration_cast<std::chrono::milliseconds>(paced_until_ - Clock::now());
    if (pause.count() > 0)
        pump_timer_ = loop().after(pause, [this] { pump(); });
    else
        loop().post([this] { pump(); });
}

/// Sends about a frame, or finds the end of the round.
void Source::Engine::pump() {
    pump_queued_ = false;
    for (PageCount looked_at; looked_at < pages_a_turn;) {
        if (ended_ || error_)
            return;
        PageRange run = std::exchange(carried_, {});
        RoundEffect what = RoundEffect::send;
        if (run.count == PageCount{}) {
            const auto effect = protocol::step(precopy_, {RoundEvent::send, {{}, std::max(builder_.room(), {1})}});
            if (!effect)
                return;
            what = effect->kind;
            run = effect->pages;
        }
        if (what == RoundEffect::drained)
            return flush() ? tell(RoundEvent::next_round) : void();
        if (what == RoundEffect::hand_over)
            return flush() ? save() : void();
        looked_at += run.count;
        if (what == RoundEffect::send_zero) {
            if (!builder_.add_zero(run) && !(flush() && builder_.add_zero(run)))
                return;
            progress_.absent += run.count;
            continue;
        }
        const PageCount added = builder_.add(guest_.memory(), run);
        carried_ = {{run.first.value + added.value}, run.count - added};
        if (builder_.room() == PageCount{} || carried_.count > PageCount{}) {
            if (!flush())
                return;
            break;
        }
    }
    pump_soon();
}

/// False when that ended the migration.
bool Source::Engine::flush() {
    if (builder_.empty())
        return true;
    const auto counts = builder_.counts();
    const ByteCount before = link_->sent();
    const auto start = Clock::now();
    const bool compress = options_.compression != Compression::none && choice_.next_pays();
    const auto frame = builder_.finish(compress ? &compressor_ : nullptr);
    const auto finished = Clock::now();
    if (auto sent = link_->send_pages(frame); !sent) {
        trouble(std::move(sent).error());
        return false;
    }
    Throughput::Duration took = Clock::now() - start;
    if (options_.bandwidth.value > 0) {
        const Throughput::Duration pace(static_cast<double>((link_->sent() - before).value) /
                                        static_cast<double>(options_.bandwidth.value));
        paced_until_ = std::max(paced_until_, start) + std::chrono::duration_cast<Clock::duration>(pace);
        took = std::max(took, pace);
    }
    if (compress)
        choice_.compressed(builder_.length(), builder_.stored(), finished - start);
    choice_.sent(link_->sent() - before, took - (finished - start));
    throughput_.sent(bytes_of(counts.data), took);
    progress_.pages += counts.data;
    progress_.data += builder_.length();
    progress_.stored += builder_.stored();
    progress_.zero += counts.zero;
    sent_in_round_ += counts.data + counts.zero;
    return true;
}

void Source::Engine::close_hints() {
    if (!hinting_)
        return tell(RoundEvent::closed);
    asked_ = true;
    guest_.stop_hinting([this] {
        loop().post([this] {
            hinting_ = false;
            if (answered())
                tell(RoundEvent::closed);
        });
    });
}

void Source::Engine::freeze() {
    enter(Phase::stopping);
    frozen_ = Clock::now();
    asked_ = true;
    guest_.freeze([this](Result<> frozen) {
        loop().post([this, frozen = std::move(frozen)]() mutable {
            if (!frozen && !error_)
                error_ = std::move(frozen).error();
            if (answered())
                tell(RoundEvent::frozen);
        });
    });
}

// Handing over

void Source::Engine::save() {
    asked_ = true;
    guest_.save([this](Result<std::vector<std::byte>> saved) {
        loop().post([this, saved = std::move(saved)]() mutable {
            if (answered())
                offer(std::move(saved));
        });
    });
}

void Source::Engine::offer(Result<std::vector<std::byte>> state) {
    if (!state)
        return trouble(std::move(state).error());
    if (state->size() > max_state)
        return trouble({"the devices' state is too large to send", 0});
    state_ = *std::move(state);
    if (options_.verify) {
        auto computed = root();
        if (!computed)
            return trouble(std::move(computed).error());
        memory_root_ = *computed;
    }
    enter(Phase::handing_over);
    tell(HandOff::Event::all_sent);
}

/// The destination does the same, and leaves out the same pages: those that nobody needs, which it need not have.
Result<std::uint64_t> Source::Engine::root() {
    const PageBitmap& unneeded = precopy_.layers.hinted.bits();
    TRY(link_->send_unneeded(unneeded));
    const auto root = memory_root(guest_.memory(), unneeded, [this] {
        keep_alive();
        return !cancelled_ && !error_;
    });
    if (!root)
        return fail("the migration was cancelled");
    return *root;
}

void Source::Engine::tell(HandOff::Event event) {
    const auto effect = protocol::step(hand_off_, event);
    if (!effect)
        return;
    switch (*effect) {
    case HandOff::Effect::send_state:
        return send_state();
    case HandOff::Effect::record_given:
        return record();
    case HandOff::Effect::send_go:
        return send_go();
    case HandOff::Effect::claim:
        return claim();
    case HandOff::Effect::resume:
        return resume();
    case HandOff::Effect::destroy:
        guest_.stop_tracking();
        guest_.gone();
        forget_given(record_path_);
        return end(Outcome::moved);
    case HandOff::Effect::ask_operator:
        return end(Outcome::unknown);
    }
}

void Source::Engine::send_state() {
    auto sent = link_->send_state(state_, memory_root_);
    if (!sent)
        return trouble(std::move(sent).error());
    expected_ = *sent;
    auto patience = options_.deadline;
    if (options_.verify)
        patience += std::chrono::seconds(guest_.memory().size().value / slowest_verify);
    answer_timer_ =
        loop().after(patience, [this] { trouble({"the destination does not say that it has everything", 0}); });
}

void Source::Engine::record() {
    answer_timer_.cancel();
    if (cancelled_)
        return trouble({"the migration was cancelled", 0});
    if (!options_.record_directory.empty()) {
        auto recorded = record_given(options_.record_directory, link_->session());
        if (!recorded)
            return trouble(std::move(recorded).error());
        record_path_ = *recorded;
    }
    tell(HandOff::Event::recorded);
}

void Source::Engine::send_go() {
    if (auto sent = link_->send_go(); !sent)
        return trouble(std::move(sent).error());
    answer_timer_ =
        loop().after(options_.deadline, [this] { trouble({"the destination does not say that it runs", 0}); });
}

void Source::Engine::claim() {
    const auto won = options_.lease->claim(*lease_, link_->session(), Side::source);
    if (!won) {
        error_ = won.error();
        return end(Outcome::unknown);
    }
    tell(*won ? HandOff::Event::won : HandOff::Event::lost);
}

void Source::Engine::receive() {
    const auto frame = link_->receive();
    if (!frame)
        return trouble(frame.error());
    if (frame->kind == FrameKind::error)
        return trouble({"the destination has ended the migration: " + parse_error(frame->payload), 0});
    if (frame->kind == FrameKind::ready && hand_off_.phase == HandOff::Phase::offered) {
        const auto sums = parse_sums(frame->payload);
        if (sums && *sums == expected_)
            return tell(HandOff::Event::ready);
        error_ = Error{"the destination has not what was sent", 0};
        return tell(HandOff::Event::mismatch);
    }
    if (frame->kind == FrameKind::ack && frame->payload.empty() && hand_off_.phase == HandOff::Phase::given)
        return tell(HandOff::Event::ack);
    trouble({fmt::format("the destination sent {} when that may not come", name_of(frame->kind)), 0});
}

// Trouble, and the end

void Source::Engine::heed_cancel() {
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

/// One thing after the other: the guest answers what it was asked, then hints are closed, and then it is told.
void Source::Engine::trouble(Error error) {
    if (ended_)
        return;
    if (!error_)
        error_ = std::move(error);
    hint_timer_.cancel();
    pump_timer_.cancel();
    waiting_for_hints_ = false;
    // A broken connection would report itself again and again.
    input_.cancel();
    if (asked_)
        return;
    if (hinting_)
        return close_hints();
    tell(HandOff::Event::trouble);
}

/// The guest first: nothing else is urgent.
void Source::Engine::resume() {
    (void)protocol::step(precopy_, {RoundEvent::cancel, {}});
    if (tracking_) {
        guest_.run_on();
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
    for (Subscription* subscription :
         {&input_, &progress_timer_, &alive_timer_, &pump_timer_, &hint_timer_, &answer_timer_})
        subscription->cancel();
    enter(Phase::ended);
    SourceResult result;
    result.outcome = outcome;
    result.last = progress_;
    result.total = since(began_);
    if (outcome != Outcome::moved && error_)
        result.error = error_->message;
    if (frozen_ != Clock::time_point{})
        result.downtime = since(frozen_);
    link_.reset();
    callbacks_.finished(std::move(result));
}

void Source::Engine::enter(Phase phase) {
    progress_.phase = phase;
    report();
}

void Source::Engine::report() {
    if (link_)
        progress_.wire = link_->sent();
    progress_.throughput = throughput_.per_second();
    if (progress_.phase == Phase::copying || progress_.phase == Phase::hinting) {
        progress_.pending = precopy_.layers.pending.count();
        progress_.expected = throughput_.time_for(progress_.pending);
    }
    if (callbacks_.progress)
        callbacks_.progress(progress_);
}

/// While there is nothing else to say: hints are awaited, the guest comes to rest, memory is summed up.
void Source::Engine::keep_alive() {
    if (ended_ || error_ || hand_off_.phase != HandOff::Phase::copying)
        return;
    if (link_->sent() == std::exchange(sent_when_last_looked_, link_->sent()))
        if (auto sent = link_->send_alive(); !sent)
            trouble(std::move(sent).error());
}

Source::Source(FileDescriptor socket, SourceGuest& guest, SourceOptions options, Callbacks callbacks)
    : engine_(std::make_unique<Engine>(std::move(socket), guest, std::move(options), std::move(callbacks))) {}
Source::~Source() = default;
void Source::start() {
    engine_->start();
}
void Source::cancel() {
    engine_->cancel();
}

} // namespace aerate::migration
