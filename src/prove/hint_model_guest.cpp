// The guest's half of the model, and the devices that write into its memory: what they can do, and what it does.
#include "prove/hint_model.hpp"

#include <algorithm>

namespace aerate::prove {
namespace {

using State = HintModel::State;
using Chain = HintModel::Chain;

bool in_queue(const State& state, unsigned page) {
    return std::any_of(state.queue.begin(), state.queue.begin() + state.queued,
                       [page](const Chain& chain) { return chain.kind == Chain::Kind::hint && chain.value == page; });
}

} // namespace

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

void HintModel::touch(State& state, unsigned page) const {
    if (!is_complete())
        return;
    state.touched.insert(page);
    state.owed.erase(page);
}

void HintModel::guest_writes(State& state, unsigned page) const {
    touch(state, page);
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
    touch(state, page);
    if (setting_.fault == Fault::device_writes_pending)
        state.precopy.layers.pending.insert(page);
    else
        (sweeps() ? state.sweep.log : state.precopy.layers.log).insert(page);
}

} // namespace aerate::prove
