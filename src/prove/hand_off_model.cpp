#include "prove/hand_off_model.hpp"

#include "prove/fingerprint_table.hpp"

#include <algorithm>
#include <utility>

namespace aerate::prove {
namespace {

using protocol::HandOffDestination;
using protocol::HandOffSource;
using State = HandOffModel::State;
using Message = HandOffModel::Message;
using Channel = HandOffModel::Channel;

Action act_of(HandOffAction kind) {
    return {static_cast<std::uint8_t>(kind), 0};
}

void put(const State& state, Channel& channel, Message message) {
    if (!state.is_cut)
        channel.messages[channel.count++] = message;
}

Message take(Channel& channel) {
    const Message message = channel.messages[0];
    std::shift_left(channel.messages.begin(), channel.messages.end(), 1);
    channel.messages[--channel.count] = {};
    return message;
}

HandOffSource::Event event_of(Message to_source) {
    using Event = HandOffSource::Event;
    return to_source == Message::ready ? Event::ready : to_source == Message::ack ? Event::ack : Event::refused;
}

template <typename Side, typename Event>
bool accepts(Side side, Event event) {
    return step(side, event).has_value();
}

} // namespace

State HandOffModel::initial() const {
    State state;
    state.source.has_lease = setting_.has_lease;
    state.destination.has_lease = setting_.has_lease;
    return state;
}

Actions HandOffModel::actions(const State& state) const {
    Actions actions;
    if (!state.source_dead) {
        if (state.source_effect) {
            actions.add(act_of(HandOffAction::source_acts));
        } else {
            if (accepts(state.source, HandOffSource::Event::all_sent))
                actions.add(act_of(HandOffAction::all_sent));
            if (accepts(state.source, HandOffSource::Event::trouble))
                actions.add(act_of(HandOffAction::source_trouble));
            if (state.to_source.count > 0)
                actions.add(act_of(HandOffAction::deliver_to_source));
        }
        if (setting_.crashes)
            actions.add(act_of(HandOffAction::source_dies));
    }
    if (!state.destination_dead) {
        if (state.destination_effect) {
            actions.add(act_of(HandOffAction::destination_acts));
        } else {
            if (accepts(state.destination, HandOffDestination::Event::trouble))
                actions.add(act_of(HandOffAction::destination_trouble));
            if (state.to_destination.count > 0)
                actions.add(act_of(HandOffAction::deliver_to_destination));
        }
        if (setting_.crashes)
            actions.add(act_of(HandOffAction::destination_dies));
    }
    if (!state.is_cut)
        actions.add(act_of(HandOffAction::cut));
    return actions;
}

void HandOffModel::tell(State& state, HandOffSource::Event event) const {
    if (setting_.fault == HandOffFault::resume_after_go && state.source.phase == HandOffSource::Phase::given &&
        event == HandOffSource::Event::trouble) {
        state.source.phase = HandOffSource::Phase::resumed;
        state.source_effect = HandOffSource::Effect::resume;
        return;
    }
    if (const auto effect = step(state.source, event))
        state.source_effect = effect;
}

void HandOffModel::tell(State& state, HandOffDestination::Event event) const {
    if (setting_.fault == HandOffFault::run_on_state && event == HandOffDestination::Event::state) {
        state.destination.phase = HandOffDestination::Phase::running;
        state.destination_effect = HandOffDestination::Effect::run_and_ack;
        return;
    }
    if (const auto effect = step(state.destination, event))
        state.destination_effect = effect;
}

void HandOffModel::act(State& state, HandOffSource::Effect effect) const {
    using Effect = HandOffSource::Effect;
    using Event = HandOffSource::Event;
    switch (effect) {
    case Effect::send_state:
        state.source_runs = false;
        return put(state, state.to_destination, Message::state);
    case Effect::record_given:
        return tell(state, Event::recorded);
    case Effect::send_go:
        return put(state, state.to_destination, Message::go);
    case Effect::claim:
        if (state.lease == Owner::nobody)
            state.lease = Owner::source;
        return tell(state, state.lease == Owner::source ? Event::won : Event::lost);
    case Effect::resume:
        state.source_runs = true;
        return;
    case Effect::destroy:
    case Effect::ask_operator:
        return;
    }
}

void HandOffModel::act(State& state, HandOffDestination::Effect effect) const {
    using Effect = HandOffDestination::Effect;
    using Event = HandOffDestination::Event;
    switch (effect) {
    case Effect::send_ready:
        return put(state, state.to_source, Message::ready);
    case Effect::claim:
        if (state.lease == Owner::nobody)
            state.lease = Owner::destination;
        return tell(state, state.lease == Owner::destination ? Event::won : Event::lost);
    case Effect::run_and_ack:
        state.destination_runs = true;
        return put(state, state.to_source, Message::ack);
    case Effect::send_mismatch:
    case Effect::discard:
        return put(state, state.to_source, Message::refused);
    }
}

Verdict HandOffModel::apply(State& state, Action action) const {
    switch (static_cast<HandOffAction>(action.kind)) {
    case HandOffAction::all_sent:
        tell(state, HandOffSource::Event::all_sent);
        break;
    case HandOffAction::source_acts:
        act(state, *std::exchange(state.source_effect, std::nullopt));
        break;
    case HandOffAction::source_trouble:
        tell(state, HandOffSource::Event::trouble);
        break;
    case HandOffAction::deliver_to_source:
        tell(state, event_of(take(state.to_source)));
        break;
    case HandOffAction::source_dies:
        state.source_dead = true;
        state.source_runs = false;
        break;
    case HandOffAction::destination_acts:
        act(state, *std::exchange(state.destination_effect, std::nullopt));
        break;
    case HandOffAction::destination_trouble:
        tell(state, HandOffDestination::Event::trouble);
        break;
    case HandOffAction::deliver_to_destination:
        tell(state, take(state.to_destination) == Message::go ? HandOffDestination::Event::go
                                                              : HandOffDestination::Event::state);
        break;
    case HandOffAction::destination_dies:
        state.destination_dead = true;
        state.destination_runs = false;
        break;
    case HandOffAction::cut:
        state.is_cut = true;
        state.to_source = {};
        state.to_destination = {};
        break;
    }
    return state.source_runs && state.destination_runs ? Verdict::two_running : Verdict::safe;
}

bool HandOffModel::finished(const State& state) const {
    if (state.source_effect && !state.source_dead)
        return false;
    if (state.destination_effect && !state.destination_dead)
        return false;
    // A guest whose own monitor was killed is gone, as with any monitor. Whose it was, the lease says.
    const bool killed = state.source_dead || (state.destination_dead && state.lease == Owner::destination);
    return killed || state.source_runs || state.destination_runs;
}

std::uint64_t HandOffModel::fingerprint(const State& state) const {
    std::uint64_t key = 0;
    const auto field = [&key](unsigned bits, std::uint64_t value) { key = key << bits | value; };
    field(3, static_cast<unsigned>(state.source.phase));
    field(3, static_cast<unsigned>(state.destination.phase));
    field(4, state.source_effect ? 1U + static_cast<unsigned>(*state.source_effect) : 0U);
    field(4, state.destination_effect ? 1U + static_cast<unsigned>(*state.destination_effect) : 0U);
    for (const bool flag :
         {state.source_runs, state.destination_runs, state.source_dead, state.destination_dead, state.is_cut})
        field(1, flag ? 1 : 0);
    field(2, static_cast<unsigned>(state.lease));
    for (const Channel* channel : {&state.to_source, &state.to_destination}) {
        field(3, channel->count);
        for (const Message message : channel->messages)
            field(3, static_cast<unsigned>(message));
    }
    Fingerprint fingerprint;
    fingerprint.mix(key);
    return fingerprint.value();
}

} // namespace aerate::prove
