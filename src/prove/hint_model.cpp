#include "prove/hint_model.hpp"

#include "base/check.hpp"
#include "prove/fingerprint_table.hpp"

#include <algorithm>
#include <optional>

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

constexpr PageCount no_limit{1U << 20};
constexpr PageCount batch_limit{1};

Action act(HintAction kind, unsigned page = 0) {
    return {static_cast<std::uint8_t>(kind), static_cast<std::uint8_t>(page)};
}

template <typename Effect>
bool wants(const State& state, Effect effect) {
    return state.effect == static_cast<std::uint8_t>(effect);
}

bool in_queue(const State& state, unsigned page) {
    return std::any_of(state.queue.begin(), state.queue.begin() + state.queued,
                       [page](const Chain& chain) { return chain.kind == Chain::Kind::hint && chain.value == page; });
}

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
        state.sweep.limit = batch_limit;
        state.sweep.scans = setting_.clears;
        step_sweep(state, SweepEvent::Kind::start);
    }
    return state;
}

// --- what is possible --------------------------------------------------------------------------------------------

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

bool HintModel::is_free(const State& state, unsigned page) const {
    return !state.live.has(page) && !(holds() && state.held.has(page));
}

bool HintModel::may_release(const State& state, unsigned page) const {
    return state.held.has(page) && !in_queue(state, page) && !state.decided.has(page);
}

bool HintModel::leaves_trace(const State& state, unsigned page) const {
    return !state.behind.has(page) || !state.dirty.has(page) || state.guarded.has(page) || !state.data.has(page);
}

void HintModel::guest_actions(const State& state, Actions& actions) const {
    const bool idle = state.queued == 0 && state.decided.empty();
    const bool has_room = setting_.driver == Driver::wait_on_ack ? idle : state.queued + 1 < setting_.queue;
    for (unsigned page = 0; page < setting_.pages; ++page) {
        const bool free = is_free(state, page);
        if (free)
            actions.add(act(HintAction::take, page));
        if (state.live.has(page) && !state.in_flight.has(page)) {
            if (leaves_trace(state, page))
                actions.add(act(HintAction::write, page));
            actions.add(act(HintAction::give, page));
        }
        if (free && state.hinting && has_room)
            actions.add(act(HintAction::hint, page));
        if (holds() && may_release(state, page))
            actions.add(act(HintAction::release, page));
        if (free && setting_.reports)
            actions.add(act(HintAction::report, page));
    }
    const auto published = static_cast<std::uint8_t>(state.tracker.config_value());
    if (state.seen != published)
        actions.add(act(HintAction::look));
    const bool can_send_marker = setting_.driver != Driver::wait_on_ack || idle;
    if (!state.hinting && !state.starting && state.seen > protocol::command_done && state.seen != state.active &&
        can_send_marker)
        actions.add(act(HintAction::begin));
    if (state.starting)
        actions.add(act(HintAction::mark));
    if (state.hinting && can_send_marker)
        actions.add(act(HintAction::end));
    if (holds() && state.seen == protocol::command_done && !state.held.empty())
        actions.add(act(HintAction::done));
}

void HintModel::device_actions(const State& state, Actions& actions) const {
    for (unsigned page = 0; page < setting_.pages; ++page) {
        if (!state.frozen && (state.live.has(page) || is_free(state, page)) && !state.in_flight.has(page))
            actions.add(act(HintAction::lend, page));
        if (state.in_flight.has(page))
            actions.add(act(state.landed.has(page) ? HintAction::complete : HintAction::land, page));
    }
}

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
        if (wants(state, SweepEffect::Kind::scan) && to_scan(state).has(page))
            actions.add(act(HintAction::scan, page));
    if (wants(state, SweepEffect::Kind::publish))
        actions.add(act(HintAction::publish));
    if (wants(state, SweepEffect::Kind::hold) &&
        (state.in_flight.empty() || setting_.fault == Fault::discard_in_flight))
        actions.add(act(HintAction::freeze));
    if (wants(state, SweepEffect::Kind::discard))
        actions.add(act(HintAction::discard));
    const bool collecting = state.sweep.phase == SweepPhase::collecting;
    const bool resumes = wants(state, SweepEffect::Kind::resume) || wants(state, SweepEffect::Kind::finish);
    // With the page that is the next batch, where there is one.
    for (unsigned page = 0; page < setting_.pages; ++page) {
        if (!state.sweep.later.has(page))
            continue;
        if (collecting)
            actions.add(act(HintAction::batch, page));
        if (collecting)
            actions.add(act(HintAction::round_over, page));
        if (resumes)
            actions.add(act(HintAction::resume, page));
    }
    if (state.sweep.later.empty() && collecting)
        actions.add(act(HintAction::round_over));
    if (state.sweep.later.empty() && resumes)
        actions.add(act(HintAction::resume));
}

void HintModel::round_actions(const State& state, Actions& actions) const {
    if (!state.tracker.open() && state.published < setting_.rounds)
        actions.add(act(HintAction::publish));
    if (state.published > 0 && state.tracker.phase != HintTracker::Phase::done)
        actions.add(act(HintAction::publish_done));
}

bool HintModel::finished(const State& state) const {
    if (precopies())
        return state.precopy.phase == CopyPhase::handed_over;
    if (state.published < setting_.rounds || state.queued > 0 || !state.decided.empty())
        return false;
    return sweeps() ? state.sweep.phase == SweepPhase::finished && state.effect == no_effect
                    : state.tracker.phase == HintTracker::Phase::done;
}

// --- what it does ------------------------------------------------------------------------------------------------

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
        state.precopy.layers.discarded.insert(page);
        return discard(state, SmallPages::only(page));
    case HintAction::lend:
        state.held.erase(page);
        state.live.insert(page);
        state.in_flight.insert(page);
        if (setting_.use == Use::discard_locked)
            state.written.insert(page);
        break;
    case HintAction::land:
        state.landed.insert(page);
        state.zero.erase(page);
        state.data.insert(page);
        state.behind.insert(page);
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
        end_round(state, PrecopyEvent::Kind::next_round);
        break;
    case HintAction::finish:
        end_round(state, PrecopyEvent::Kind::finish);
        break;
    case HintAction::batch:
        with_page_first(state.sweep.later, page, [&] { step_sweep(state, SweepEvent::Kind::batch); });
        break;
    case HintAction::round_over:
        with_page_first(state.sweep.later, page, [&] { step_sweep(state, SweepEvent::Kind::round_over); });
        break;
    case HintAction::freeze:
        state.frozen = true;
        if (precopies())
            step_precopy(state, {PrecopyEvent::Kind::frozen, {}});
        else
            step_sweep(state, SweepEvent::Kind::held);
        break;
    case HintAction::discard: {
        const SmallPages pages = state.sweep.hinted;
        step_sweep(state, SweepEvent::Kind::discarded);
        return discard(state, pages);
    }
    case HintAction::resume:
        state.frozen = false;
        if (state.sweep.phase == SweepPhase::finished) {
            state.tracker.done();
            state.effect = no_effect;
            if (state.published < setting_.rounds) {
                state.sweep = {};
                state.sweep.limit = batch_limit;
                state.sweep.scans = setting_.clears;
                step_sweep(state, SweepEvent::Kind::start);
            }
        } else {
            with_page_first(state.sweep.later, page, [&] { step_sweep(state, SweepEvent::Kind::resumed); });
        }
        break;
    case HintAction::publish_done:
        state.tracker.done();
        break;
    }
    return Verdict::safe;
}

void HintModel::guest_writes(State& state, unsigned page) const {
    state.data.insert(page);
    state.behind.insert(page);
    state.zero.erase(page);
    // A page that is in the log already leaves no new trace.
    state.dirty.insert(page);
    if (state.guarded.has(page)) {
        state.written.insert(page);
        state.guarded.erase(page);
    }
}

void HintModel::push(State& state, Chain chain) const {
    // Linux only logs it when a marker finds the ring full.
    if (state.queued < setting_.queue)
        state.queue[state.queued++] = chain;
}

void HintModel::begin(State& state) const {
    // Linux reads the ID once to decide and once more to send.
    state.active = static_cast<std::uint8_t>(shares_word() ? state.tracker.config_value() : state.seen);
    if (shares_word()) {
        state.word = state.active;
        state.starting = true;
    } else {
        state.hinting = true;
        push(state, {Chain::Kind::marker, state.active});
    }
}

void HintModel::complete(State& state, unsigned page) const {
    state.in_flight.erase(page);
    state.landed.erase(page);
    if (setting_.fault == Fault::device_writes_pending)
        state.precopy.layers.pending.insert(page);
    else
        (sweeps() ? state.sweep.log : state.precopy.layers.log).insert(page);
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
    if (precopies()) {
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
        return Verdict::safe;
    }
    switch (setting_.use) {
    case Use::discard_held:
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

// --- the log, rounds ---------------------------------------------------------------------------------------------

void HintModel::read_log(State& state) const {
    SmallPages& log = sweeps() ? state.sweep.log : state.precopy.layers.log;
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

/// The decision alone changes nothing that others see, so it is one step with the closing.
void HintModel::end_round(State& state, PrecopyEvent::Kind decision) const {
    step_precopy(state, {decision, {}});
    state.tracker.stop();
    step_precopy(state, {PrecopyEvent::Kind::closed, {}});
}

/// The engines take the lowest pages first. Which those are is no matter of the protocol, and pages are interchangeable
/// here; so each may be the lowest.
template <typename Step>
void HintModel::with_page_first(SmallPages& pages, unsigned page, Step&& step) const {
    SmallPages others = pages;
    others.erase(page);
    pages.remove(others);
    step();
    pages.add(others);
}

Verdict HintModel::send(State& state, unsigned page) const {
    // The content is read after the log of its chunk is armed again.
    if (setting_.log == Log::lazy_clear)
        rearm_log(state);
    std::optional<PrecopyEffect> effect;
    with_page_first(state.precopy.layers.pending, page,
                    [&] { effect = protocol::step(state.precopy, {PrecopyEvent::Kind::send, {{}, {1}}}); });
    CHECK(effect.has_value());
    if (effect->kind == PrecopyEffect::Kind::send)
        state.behind.erase(page);
    return Verdict::safe;
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
    SmallPages pages{static_cast<std::uint8_t>(state.sweep.hinted.bits & state.sweep.written.bits)};
    pages.remove(state.looked_at);
    return pages;
}

void HintModel::scan(State& state, unsigned page) const {
    state.looked_at.insert(page);
    const auto effect = state.effect;
    if (state.zero.has(page))
        step_sweep(state, SweepEvent::Kind::zero, page_range(page));
    state.effect = effect;
    if (to_scan(state).empty())
        step_sweep(state, SweepEvent::Kind::scanned);
}

void HintModel::step_sweep(State& state, SweepEvent::Kind kind, PageRange pages) const {
    const auto effect = protocol::step(state.sweep, {kind, pages});
    if (kind != SweepEvent::Kind::hinted)
        state.effect = effect ? static_cast<std::uint8_t>(effect->kind) : no_effect;
}

// --- identity ----------------------------------------------------------------------------------------------------

/// Equal states go on equally. What is left out (unless setting().reduce is off), and why that is right:
///   - the order of the pages: a page is what is known of it, its places in the queue included, and the keys are
///   sorted;
///   - what stands in chains that are stale already, or that will be before the next hint counts: nobody looks at it
///     (a driver that holds its blocks does: whether they are used);
///   - with Linux, whether a free block is held: it may be taken back at any time;
///   - numbers of commands where only their being equal matters.
std::uint64_t HintModel::fingerprint(const State& state) const {
    const bool exact = !setting_.reduce || setting_.fault != Fault::none;
    const auto counts = [&](unsigned at) {
        return exact || holds() || (state.tracker.open() && at >= state.tracker.stale_chains);
    };
    const auto& layers = state.precopy.layers;
    std::array<std::uint64_t, max_pages> keys{};
    for (unsigned page = 0; page < setting_.pages; ++page) {
        std::uint64_t key = 0;
        const auto bit = [&key](bool value) { key = key << 1 | (value ? 1U : 0U); };
        bit((holds() || exact) && state.held.has(page));
        bit((setting_.use == Use::skip_unwritten || setting_.verifies || !setting_.reduce) && layers.hinted.has(page));
        for (const SmallPages& set :
             {state.live,        state.data,          state.in_flight,    state.landed,      state.dirty,
              state.got,         state.guarded,       state.behind,       state.written,     state.decided,
              state.ever_hinted, layers.log,          layers.discarded,   layers.absent,     layers.pending,
              state.sweep.log,   state.sweep.written, state.sweep.hinted, state.sweep.later, state.sweep.zero,
              state.looked_at,   state.zero})
            bit(set.has(page));
        for (unsigned at = 0; at < state.queued; ++at)
            bit(counts(at) && state.queue[at].kind == Chain::Kind::hint && state.queue[at].value == page);
        keys[page] = key;
    }
    if (setting_.reduce)
        std::ranges::make_heap(keys), std::ranges::sort_heap(keys); // g++ 12 warns of std::sort on so few

    std::uint64_t shared = 0;
    const auto field = [&shared](unsigned bits, std::uint64_t value) { shared = shared << bits | value; };
    bool word_is_queued = false;
    for (unsigned at = 0; at < state.queued; ++at) {
        const Chain& chain = state.queue[at];
        const bool is_shared = chain.kind == Chain::Kind::shared_marker;
        word_is_queued = word_is_queued || (is_shared && counts(at));
        field(4, !counts(at) || chain.kind == Chain::Kind::hint ? 0U : is_shared ? 15U : 1U + chain.value);
    }
    const bool can_begin = state.seen > protocol::command_done && state.seen != state.active;
    field(3, state.queued);
    field(1, state.hinting ? 1 : 0);
    field(1, state.starting ? 1 : 0);
    field(1, can_begin ? 1 : 0);
    if (shares_word() && !exact) {
        field(1, state.seen == state.tracker.config_value() ? 1 : 0);
        field(1, state.active == state.tracker.config_value() ? 1 : 0);
    } else {
        field(3, state.seen);
        field(3, state.active);
    }
    field(3, word_is_queued || exact ? state.word : 0U);
    field(2, static_cast<unsigned>(state.tracker.phase));
    field(3, state.tracker.stale_chains);
    field(1, state.frozen ? 1 : 0);
    field(4, state.effect & 15U);
    field(3, state.published);
    field(4, static_cast<unsigned>(state.precopy.phase));
    field(1, state.precopy.finishing ? 1 : 0);
    field(4, static_cast<unsigned>(state.sweep.phase));
    field(1, state.sweep.round_over ? 1 : 0);

    Fingerprint fingerprint;
    fingerprint.mix(keys[0] | keys[1] << 32);
    fingerprint.mix(keys[2] | keys[3] << 32);
    fingerprint.mix(shared);
    return fingerprint.value();
}

} // namespace aerate::prove
