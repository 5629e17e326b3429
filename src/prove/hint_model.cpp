#include "prove/hint_model.hpp"

#include "base/check.hpp"

namespace aerate::prove {
namespace {

using protocol::HintTracker;
using protocol::Precopy;
using protocol::PrecopyEvent;
using protocol::PrecopyPlan;
using protocol::Sweep;
using protocol::SweepEvent;
using State = HintModel::State;
using Chain = HintModel::Chain;
using CopyPhase = Precopy<SmallPages>::Phase;
using SweepPhase = Sweep<SmallPages>::Phase;

} // namespace

HintModel::HintModel(const HintSetting& setting)
    : setting_(setting)
    , all_(SmallPages::first(setting.pages)) {
    CHECK(setting.pages <= max_pages && setting.queue <= max_queue && setting.rounds <= max_rounds);
}

bool HintModel::precopies() const {
    return setting_.use == Use::clear_pending || setting_.use == Use::clear_live || setting_.use == Use::skip_by_hint ||
           setting_.use == Use::skip_unwritten;
}

bool HintModel::is_complete() const {
    const bool fault_is_of_another_kind = setting_.fault != Fault::none && setting_.fault != Fault::hints_forgotten &&
                                          setting_.fault != Fault::hinted_is_sent;
    return !fault_is_of_another_kind && setting_.log != Log::lazy_clear &&
           (setting_.use == Use::clear_pending || setting_.use == Use::skip_unwritten ||
            setting_.use == Use::discard_held);
}

State HintModel::initial() const {
    State state;
    state.tracker.budget = no_limit;
    if (setting_.log == Log::lazy_clear || setting_.log == Log::clear_first)
        state.dirty = all_; // KVM_DIRTY_LOG_INITIALLY_SET
    if (precopies()) {
        const bool snapshot = setting_.use == Use::skip_by_hint || setting_.use == Use::skip_unwritten;
        state.precopy.plan = snapshot ? PrecopyPlan::snapshot : PrecopyPlan::migration;
        state.precopy.layers.pending = all_;
        step_precopy(state, {PrecopyEvent::Kind::start, {}});
    } else if (sweeps()) {
        begin_sweep(state);
    }
    return state;
}

Actions HintModel::actions(const State& state) const {
    Actions actions;
    if (precopies() && state.precopy.phase == CopyPhase::handed_over)
        return actions;
    if (!state.frozen) {
        guest_actions(state, actions);
        balloon_actions(state, actions);
    }
    if (setting_.devices)
        device_actions(state, actions);
    if (precopies())
        copy_actions(state, actions);
    else if (sweeps())
        sweep_actions(state, actions);
    else
        round_actions(state, actions);
    return actions;
}

bool HintModel::finished(const State& state) const {
    if (precopies())
        return state.precopy.phase == CopyPhase::handed_over;
    if (state.published < setting_.rounds || state.queued > 0 || !state.decided.empty())
        return false;
    return sweeps() ? state.sweep.phase == SweepPhase::finished && state.effect == no_effect
                    : state.tracker.phase == HintTracker::Phase::done;
}

Verdict HintModel::apply(State& state, Action action) const {
    const unsigned page = action.page;
    switch (static_cast<HintAction>(action.kind)) {
    case HintAction::take:
        state.held.erase(page);
        state.live.insert(page);
        guest_writes(state, page);
        break;
    case HintAction::write:
        guest_writes(state, page);
        break;
    case HintAction::give:
        state.live.erase(page);
        state.data.erase(page);
        state.behind.erase(page);
        break;
    case HintAction::look:
        state.seen = static_cast<std::uint8_t>(state.tracker.config_value());
        break;
    case HintAction::begin:
        begin(state);
        break;
    case HintAction::mark:
        state.starting = false;
        state.hinting = true;
        push(state, {Chain::Kind::shared_marker, 0});
        break;
    case HintAction::hint:
        state.held.insert(page);
        if (setting_.clears) {
            state.zero.insert(page);
            state.dirty.insert(page);
            touch(state, page);
        }
        push(state, {Chain::Kind::hint, action.page});
        break;
    case HintAction::end:
        state.hinting = false;
        push(state, {Chain::Kind::marker, protocol::command_stop});
        break;
    case HintAction::release:
        state.held.erase(page);
        break;
    case HintAction::done:
        for (unsigned held = 0; held < setting_.pages; ++held)
            if (may_release(state, held))
                state.held.erase(held);
        break;
    case HintAction::report:
        touch(state, page); // with zeros: the monitor records what it discards
        state.precopy.layers.log.insert(page);
        return discard(state, SmallPages::only(page));
    case HintAction::lend:
        state.held.erase(page);
        state.live.insert(page);
        state.in_flight.insert(page);
        touch(state, page);
        if (setting_.use == Use::discard_locked)
            state.written.insert(page);
        break;
    case HintAction::land:
        state.landed.insert(page);
        state.zero.erase(page);
        state.data.insert(page);
        state.behind.insert(page);
        touch(state, page);
        break;
    case HintAction::complete:
        complete(state, page);
        break;
    case HintAction::pop:
        return pop(state);
    case HintAction::scan:
        scan(state, page);
        break;
    case HintAction::discard_page:
        state.decided.erase(page);
        return discard(state, SmallPages::only(page));
    case HintAction::hint_late:
        state.decided.erase(page);
        state.precopy.layers.hint(page_range(page));
        break;
    case HintAction::read_log:
        read_log(state);
        break;
    case HintAction::rearm_log:
        rearm_log(state);
        gathered(state);
        break;
    case HintAction::publish:
        return publish(state);
    case HintAction::send:
        return send(state, page);
    case HintAction::hand_over:
        (void)protocol::step(state.precopy, {PrecopyEvent::Kind::send, {{}, {1}}});
        return hand_over(state);
    case HintAction::next_round:
        step_precopy(state, {PrecopyEvent::Kind::next_round, {}});
        break;
    case HintAction::finish:
        step_precopy(state, {PrecopyEvent::Kind::finish, {}});
        break;
    case HintAction::close:
        close_hints(state);
        break;
    case HintAction::batch:
        with_page_first(state.sweep.later, page, [&] { step_sweep(state, SweepEvent::Kind::batch); });
        break;
    case HintAction::round_over:
        // The guest has said STOP, or is not listened to any longer.
        state.tracker.stop();
        with_page_first(state.sweep.later, page, [&] { step_sweep(state, SweepEvent::Kind::round_over); });
        break;
    case HintAction::freeze:
        state.frozen = true;
        if (precopies())
            step_precopy(state, {PrecopyEvent::Kind::frozen, {}});
        else
            step_sweep(state, SweepEvent::Kind::held);
        if (setting_.by_content)
            end_empty_scan(state);
        break;
    case HintAction::discard: {
        const SmallPages pages = state.sweep.hinted;
        state.owed.remove(pages);
        step_sweep(state, SweepEvent::Kind::discarded);
        if (setting_.by_content)
            state.looked_at.clear_all();
        return discard(state, pages);
    }
    case HintAction::resume:
        state.frozen = false;
        state.effect = no_effect;
        if (state.sweep.phase == SweepPhase::finished)
            return end_sweep(state);
        break;
    case HintAction::resumed:
        with_page_first(state.sweep.later, page, [&] { step_sweep(state, SweepEvent::Kind::resumed); });
        break;
    case HintAction::publish_done:
        state.tracker.done();
        break;
    }
    return Verdict::safe;
}

} // namespace aerate::prove
