#include "migration/source_engine.hpp"

#include <algorithm>

namespace aerate::migration {
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
    case RoundEffect::send: // these three are pump()'s
    case RoundEffect::drained:
    case RoundEffect::hand_over:
    case RoundEffect::run_on: // resume() does it
        return;
    }
}

void Source::Engine::gather() {
    auto& layers = precopy_.layers;
    guest_.gather(layers.log.filling());
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
    if (!last && !syncing_)
        sync();
    tell(RoundEvent::gathered);
    if (!last)
        return;
    begin_step(TimelineStep::Kind::copying_rest);
    pump_soon();
}

/// Syncs the disks beside the round: the guest is stopped only for what it writes after the last of these.
void Source::Engine::sync() {
    syncing_ = true;
    guest_.sync([this](Result<> result) {
        loop().post([this, result = std::move(result)]() mutable { synced(std::move(result)); });
    });
}

void Source::Engine::synced(Result<> result) {
    syncing_ = false;
    if (ended_ || error_)
        return;
    if (!result)
        return trouble(std::move(result).error());
    if (std::exchange(freeze_after_sync_, false))
        tell(RoundEvent::finish);
}

void Source::Engine::look_at_pending() {
    progress_.pending = precopy_.layers.pending.count();
    progress_.expected = throughput_.time_for(progress_.pending);
}

/// Decides what to do with the round that is about to be sent.
void Source::Engine::judge() {
    look_at_pending();
    switch (convergence().judge(progress_.round, throughput_, progress_.pending)) {
    case Verdict::finish:
        return end_round(AfterRound::finish);
    case Verdict::give_up:
        return trouble(
            {fmt::format("after {} rounds stopping the guest would still take {} ms, {} are allowed: it writes "
                         "faster than the link carries. Slow it down (--auto-converge), allow more (--downtime), or "
                         "stop it for as long as it takes (--force)",
                         options_.max_rounds, progress_.expected.count() / 1000, options_.downtime_limit.count()),
             0});
    case Verdict::go_on:
        enter(Phase::copying);
        begin_step(TimelineStep::Kind::copying);
        return pump_soon();
    }
}

void Source::Engine::pump_soon() {
    if (!std::exchange(pump_queued_, true))
        loop().post([this] { pump(); });
}

/// Gives the streams what they have room for, or finds the end of the round.
void Source::Engine::pump() {
    pump_queued_ = false;
    hints_.take(); // what came meanwhile need not be sent
    while (!ended_ && !error_) {
        if (carried_.count == PageCount{}) {
            const auto effect = protocol::step(precopy_, {RoundEvent::send, {{}, stream_chunk}});
            if (!effect)
                return;
            if (effect->kind == RoundEffect::drained)
                return end_round(AfterRound::next);
            if (effect->kind == RoundEffect::hand_over)
                return end_round(AfterRound::save);
            carried_ = effect->pages;
        }
        const PageCount given = streams_->give(carried_);
        if (given == PageCount{})
            return streams_->deliver(progress_.round); // and go on when there is room
        carried_ = {{carried_.first.value + given.value}, carried_.count - given};
    }
}

void Source::Engine::account(const OutgoingStreams::Sent& sent) {
    if (ended_ || error_)
        return;
    throughput_.sent(bytes_of(sent.data + sent.delta), sent.took);
    if (progress_.round > 1)
        throughput_.saw_zero(sent.zero);
    progress_.pages += sent.data + sent.delta;
    progress_.delta += sent.delta;
    progress_.zero += sent.zero;
    progress_.data += sent.length;
    progress_.stored += sent.stored;
    progress_.form = sent.form;
    sent_in_round_ += sent.taken;
    if (!round_ending_)
        pump_soon();
}

/// Ends a round, also one that sends nothing: the destination is told of each, on each stream.
void Source::Engine::end_round(AfterRound after) {
    after_round_ = after;
    round_ending_ = true;
    streams_->deliver(progress_.round);
    streams_->end_round(progress_.round);
}

/// Called when no stream has anything of this round left to send.
void Source::Engine::round_ended() {
    if (ended_ || error_)
        return;
    round_ending_ = false;
    switch (after_round_) {
    case AfterRound::next:
        return tell(RoundEvent::next_round);
    case AfterRound::finish:
        if (syncing_)
            return void(freeze_after_sync_ = true);
        return tell(RoundEvent::finish);
    case AfterRound::save:
        return save();
    }
}

void Source::Engine::freeze() {
    enter(Phase::stopping);
    begin_step(TimelineStep::Kind::stopping);
    streams_->hurry();
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
