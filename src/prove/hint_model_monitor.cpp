// The monitor's half: balloon, log, copy and sweep.
#include "base/check.hpp"
#include "prove/hint_model.hpp"

#include <algorithm>

namespace aerate::prove {
namespace {

using protocol::HintTracker;
using protocol::Precopy;
using protocol::PrecopyEffect;
using protocol::PrecopyEvent;
using protocol::PrecopyPlan;
using protocol::Sweep;
using protocol::SweepEffect;
using protocol::SweepEvent;
using State = HintModel::State;
using Chain = HintModel::Chain;
using CopyPhase = Precopy<SmallPages>::Phase;
using SweepPhase = Sweep<SmallPages>::Phase;

template <typename Effect>
bool wants(const State& state, Effect effect) {
    return state.effect == static_cast<std::uint8_t>(effect);
}

} // namespace

void HintModel::balloon_actions(const State& state, Actions& actions) const {
    if (state.queued > 0 && (state.decided.empty() || setting_.fault == Fault::late_hints))
        actions.add(act(HintAction::pop));
    for (unsigned page = 0; page < setting_.pages; ++page)
        if (state.decided.has(page))
            actions.add(
                act(setting_.fault == Fault::late_hints ? HintAction::hint_late : HintAction::discard_page, page));
}

void HintModel::copy_actions(const State& state, Actions& actions) const {
    const bool all_at_once = setting_.log == Log::eager || setting_.log == Log::lazy_clear;
    if (wants(state, PrecopyEffect::Kind::gather))
        actions.add(act(all_at_once || state.got.empty() ? HintAction::read_log : HintAction::rearm_log));
    if (wants(state, PrecopyEffect::Kind::publish))
        actions.add(act(HintAction::publish));
    if (wants(state, PrecopyEffect::Kind::close))
        actions.add(act(HintAction::close));
    if (wants(state, PrecopyEffect::Kind::freeze) && state.in_flight.empty())
        actions.add(act(HintAction::freeze));
    const bool sends = state.precopy.phase == CopyPhase::copying && state.precopy.plan == PrecopyPlan::migration;
    const bool is_final = state.precopy.phase == CopyPhase::final_copy;
    for (unsigned page = 0; page < setting_.pages; ++page)
        if ((is_final || sends) && state.precopy.layers.pending.has(page))
            actions.add(act(HintAction::send, page));
    if (is_final && state.precopy.layers.pending.empty())
        actions.add(act(HintAction::hand_over));
    if (state.precopy.phase == CopyPhase::copying) {
        if (state.precopy.plan == PrecopyPlan::migration && state.published < setting_.rounds)
            actions.add(act(HintAction::next_round));
        actions.add(act(HintAction::finish));
    }
}

void HintModel::sweep_actions(const State& state, Actions& actions) const {
    if (wants(state, SweepEffect::Kind::gather))
        actions.add(
            act(setting_.log == Log::eager || state.got.empty() ? HintAction::read_log : HintAction::rearm_log));
    for (unsigned page = 0; page < setting_.pages; ++page)
        if (may_scan(state) && to_scan(state).has(page))
            actions.add(act(HintAction::scan, page));
    if (wants(state, SweepEffect::Kind::publish))
        actions.add(act(HintAction::publish));
    if (wants(state, SweepEffect::Kind::hold) &&
        (state.in_flight.empty() || setting_.fault == Fault::discard_in_flight))
        actions.add(act(HintAction::freeze));
    if (wants(state, SweepEffect::Kind::discard))
        actions.add(act(HintAction::discard));
    if (wants(state, SweepEffect::Kind::resume) || wants(state, SweepEffect::Kind::finish))
        actions.add(act(HintAction::resume));
    const SweepPhase phase = state.sweep.phase;
    const bool collecting = phase == SweepPhase::collecting;
    const bool resuming = phase == SweepPhase::resuming && state.effect == no_effect;
    const bool may_end = !state.sweep.round_over && !state.frozen && state.published > 0 &&
                         (collecting || resuming || phase == SweepPhase::looking || phase == SweepPhase::scanning ||
                          phase == SweepPhase::holding);
    // Where a batch begins with it, with the page that is the next batch if there is one.
    const auto add_for_each_next_page = [&](HintAction action) {
        if (state.sweep.later.empty())
            actions.add(act(action));
        for (unsigned page = 0; page < setting_.pages; ++page)
            if (state.sweep.later.has(page))
                actions.add(act(action, page));
    };
    if (collecting && !state.sweep.later.empty())
        add_for_each_next_page(HintAction::batch);
    if (may_end && collecting)
        add_for_each_next_page(HintAction::round_over);
    else if (may_end)
        actions.add(act(HintAction::round_over));
    if (resuming && state.sweep.round_over)
        add_for_each_next_page(HintAction::resumed);
    else if (resuming)
        actions.add(act(HintAction::resumed));
}

bool HintModel::may_scan(const State& state) const {
    return wants(state, SweepEffect::Kind::scan) ||
           (setting_.fault == Fault::zero_not_held && wants(state, SweepEffect::Kind::hold));
}

void HintModel::round_actions(const State& state, Actions& actions) const {
    if (!state.tracker.open() && state.published < setting_.rounds)
        actions.add(act(HintAction::publish));
    if (state.published > 0 && state.tracker.phase != HintTracker::Phase::done)
        actions.add(act(HintAction::publish_done));
}

Verdict HintModel::discard(State& state, SmallPages pages) const {
    if ((pages.bits & state.data.bits) != 0)
        return Verdict::destroyed;
    return Verdict::safe;
}

Verdict HintModel::pop(State& state) const {
    const Chain chain = state.queue[0];
    std::shift_left(state.queue.begin(), state.queue.end(), 1);
    state.queue[--state.queued] = {};

    const bool current = state.tracker.chain_is_current();
    if (chain.kind != Chain::Kind::hint) {
        if (current)
            (void)state.tracker.command(chain.kind == Chain::Kind::shared_marker ? state.word : chain.value);
        return Verdict::safe;
    }
    const auto verdict = current ? state.tracker.hint({1}) : HintTracker::HintVerdict::not_current;
    state.tracker.budget = no_limit;
    const bool ignores_id = setting_.fault == Fault::id_ignored && state.tracker.open();
    if (verdict != HintTracker::HintVerdict::accepted && !ignores_id)
        return Verdict::safe;
    return use_hint(state, chain.value);
}

Verdict HintModel::use_hint(State& state, unsigned page) const {
    const PageRange range = page_range(page);
    // What was cleared since (init_on_alloc) holds nothing either, for a sweep.
    const bool is_untouched = !setting_.by_content && !state.touched.has(page);
    if (is_complete() && (is_untouched || (sweeps() && state.zero.has(page))))
        state.owed.insert(page);
    if (precopies()) {
        const bool was_pending = state.precopy.layers.pending.has(page);
        if (setting_.fault == Fault::late_hints) {
            state.decided.insert(page);
            return Verdict::safe;
        }
        // KVM_CLEAR_DIRTY_LOG of the chunk that the block is in.
        if (setting_.log == Log::lazy_clear)
            rearm_log(state);
        step_precopy(state, {PrecopyEvent::Kind::hinted, range});
        if (setting_.use == Use::clear_live)
            state.dirty.erase(page);
        if (setting_.use == Use::clear_live || setting_.fault == Fault::hint_clears_log)
            state.precopy.layers.log.clear(range);
        if (setting_.use == Use::skip_by_hint)
            state.ever_hinted.insert(page);
        if (setting_.fault == Fault::hinted_is_sent && was_pending)
            state.precopy.layers.pending.insert(page);
        return Verdict::safe;
    }
    switch (setting_.use) {
    case Use::discard_held:
        if (setting_.fault != Fault::hints_forgotten || state.sweep.phase != SweepPhase::resuming)
            step_sweep(state, SweepEvent::Kind::hinted, range);
        return Verdict::safe;
    case Use::discard_at_once:
        return discard(state, SmallPages::only(page));
    case Use::discard_checked:
        if (!state.dirty.has(page) && !state.precopy.layers.log.has(page) && !state.in_flight.has(page))
            state.decided.insert(page);
        return Verdict::safe;
    default:
        break;
    }
    // Under the lock that write faults take: nothing comes between.
    if (state.written.has(page))
        return Verdict::safe;
    // A discard drops the protection, so one hint a page a session; unless it is forgotten.
    state.guarded.erase(page);
    if (setting_.fault != Fault::not_protected_again)
        state.written.insert(page);
    return discard(state, SmallPages::only(page));
}

void HintModel::read_log(State& state) const {
    SmallPages& log = sweeps() ? state.sweep.log : state.precopy.layers.log;
    // What is written from here on is newer than the ID that follows, for all that the monitor can know.
    if (!sweeps() || state.sweep.phase == SweepPhase::arming)
        state.touched.clear_all();
    // What devices hold counts as written from the moment they popped it. A sweep looks when they hold nothing.
    if (!sweeps())
        log.add(state.in_flight);
    log.add(state.dirty);
    if (setting_.log == Log::eager) {
        state.dirty.clear_all();
        return gathered(state);
    }
    state.got.add(state.dirty);
    if (setting_.log == Log::lazy_clear || state.got.empty())
        gathered(state);
}

void HintModel::rearm_log(State& state) const {
    state.dirty.remove(state.got);
    state.got.clear_all();
}

void HintModel::gathered(State& state) const {
    if (!sweeps())
        return step_precopy(state, {PrecopyEvent::Kind::gathered, {}});
    if (setting_.fault == Fault::zero_not_checked)
        state.sweep.log.remove(state.sweep.zero);
    step_sweep(state, SweepEvent::Kind::gathered);
    state.looked_at.clear_all();
    end_empty_scan(state);
}

void HintModel::end_empty_scan(State& state) const {
    if (wants(state, SweepEffect::Kind::scan) && to_scan(state).empty())
        step_sweep(state, SweepEvent::Kind::scanned);
}

Verdict HintModel::publish(State& state) const {
    const CommandId before = state.tracker.issued;
    if (state.published < setting_.rounds) {
        if (setting_.fault == Fault::id_reused && state.published > 0)
            --state.tracker.issued.value;
        (void)state.tracker.publish(setting_.fault == Fault::index_ignored ? 0U : state.queued, no_limit);
        ++state.published;
    }
    if (precopies()) {
        step_precopy(state, {PrecopyEvent::Kind::published, {}});
    } else if (sweeps()) {
        step_sweep(state, SweepEvent::Kind::published);
    } else {
        // Protects all, or empties the log, before the ID can be seen.
        state.written = state.in_flight;
        state.guarded = all_;
        if (setting_.fault == Fault::hole_not_protected)
            state.guarded = {static_cast<std::uint8_t>(state.live.bits | state.held.bits)};
        state.guarded.remove(state.written);
        state.dirty.clear_all();
        state.precopy.layers.log = state.in_flight;
    }
    return state.published > 1 && state.tracker.issued == before ? Verdict::id_reused : Verdict::safe;
}

void HintModel::close_hints(State& state) const {
    state.tracker.stop();
    step_precopy(state, {PrecopyEvent::Kind::closed, {}});
}

Verdict HintModel::send(State& state, unsigned page) const {
    // The content is read after the log of its chunk is armed again.
    if (setting_.log == Log::lazy_clear)
        rearm_log(state);
    std::optional<PrecopyEffect> effect;
    with_page_first(state.precopy.layers.pending, page,
                    [&] { effect = protocol::step(state.precopy, {PrecopyEvent::Kind::send, {{}, {1}}}); });
    CHECK(effect.has_value());
    if (effect->kind != PrecopyEffect::Kind::send)
        return Verdict::safe;
    state.behind.erase(page);
    return state.owed.has(page) ? Verdict::incomplete : Verdict::safe;
}

Verdict HintModel::hand_over(const State& state) const {
    const SmallPages skipped = setting_.use == Use::skip_by_hint ? state.ever_hinted : SmallPages{};
    if (!state.behind.empty() || (skipped.bits & state.data.bits) != 0)
        return Verdict::lost;
    // A verification leaves out what is hinted, so that must not be live.
    return !setting_.verifies || (state.precopy.layers.hinted.bits & state.data.bits) == 0 ? Verdict::safe
                                                                                           : Verdict::lost;
}

void HintModel::step_precopy(State& state, PrecopyEvent event) const {
    const bool is_hint = event.kind == PrecopyEvent::Kind::hinted;
    const auto effect = protocol::step(state.precopy, event);
    if (!is_hint)
        state.effect = effect ? static_cast<std::uint8_t>(effect->kind) : no_effect;
}

SmallPages HintModel::to_scan(const State& state) const {
    SmallPages pages;
    for (unsigned page = 0; page < setting_.pages; ++page)
        if (!state.looked_at.has(page) && protocol::to_scan(state.sweep, {page}))
            pages.insert(page);
    return pages;
}

void HintModel::scan(State& state, unsigned page) const {
    state.looked_at.insert(page);
    if (state.zero.has(page))
        wants(state, SweepEffect::Kind::scan) ? step_sweep(state, SweepEvent::Kind::zero, page_range(page))
                                              : state.sweep.zero.insert(page);
    end_empty_scan(state);
}

void HintModel::step_sweep(State& state, SweepEvent::Kind kind, PageRange pages) const {
    const auto effect = protocol::step(state.sweep, {kind, pages});
    // These are no answer to what the engine has asked for.
    const bool comes_by_itself =
        kind == SweepEvent::Kind::hinted || kind == SweepEvent::Kind::zero || kind == SweepEvent::Kind::round_over;
    if (effect || !comes_by_itself)
        state.effect = effect ? static_cast<std::uint8_t>(effect->kind) : no_effect;
}

void HintModel::begin_sweep(State& state) const {
    state.sweep = {};
    state.sweep.limit = batch_limit;
    state.sweep.logs = !setting_.by_content;
    state.sweep.scans = setting_.clears;
    step_sweep(state, SweepEvent::Kind::start);
}

Verdict HintModel::end_sweep(State& state) const {
    state.tracker.done();
    if (!state.owed.empty())
        return Verdict::incomplete;
    if (state.published < setting_.rounds)
        begin_sweep(state);
    return Verdict::safe;
}

} // namespace aerate::prove
