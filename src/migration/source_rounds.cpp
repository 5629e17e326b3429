#include "migration/source_engine.hpp"

#include <algorithm>

namespace aerate::migration {
namespace {

/// Looked at in one turn of the loop, so that hints and the other side get theirs.
constexpr PageCount pages_a_turn{4096};

} // namespace

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

/// Absent pages take a few bytes a run.
void Source::Engine::look_at_pending() {
    const auto& layers = precopy_.layers;
    progress_.pending =
        layers.pending.bits().count_without(layers.absent.bits(), {{0}, guest_.memory().address_space()});
    progress_.expected = throughput_.time_for(progress_.pending);
}

/// What to do with the round that is about to be sent.
void Source::Engine::judge() {
    look_at_pending();
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
    const bool compress = options_.compression.kind != Compression::none && choice_.next_pays();
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

} // namespace aerate::migration
