#include "prove/freeze_model.hpp"

#include "prove/fingerprint_table.hpp"

#include <algorithm>
#include <span>
#include <utility>

namespace aerate::prove {
namespace {

using protocol::Claimant;
using protocol::Freeze;
using protocol::FreezeEffect;
using protocol::FreezeEvent;
using protocol::OrderNumber;
using State = FreezeModel::State;
using Device = FreezeModel::Device;
using Order = FreezeModel::Order;
using Answers = FreezeModel::Answers;
using Vcpu = FreezeModel::Vcpu;
using Phase = Freeze::Phase;

constexpr std::array claiming{Claimant::pause, Claimant::sweep, Claimant::copy};

Action act_of(FreezeAction kind, std::size_t which = 0) {
    return {static_cast<std::uint8_t>(kind), static_cast<std::uint8_t>(which)};
}

void post(Answers& answers, OrderNumber number) {
    answers.older |= answers.any;
    answers.any = true;
    answers.last = number;
}

/// The buffers are back, or were dropped.
void rest(Device& device) {
    device.busy = false;
    if (std::exchange(device.owes, false))
        post(device.answers, device.owed);
}

} // namespace

State FreezeModel::initial() const {
    State state;
    state.freeze.devices = setting_.devices;
    state.freeze.vcpus = setting_.vcpus;
    state.claims_left = setting_.claims;
    if (setting_.born_at_rest) {
        state.freeze.phase = Phase::at_rest;
        state.freeze.claims = Claimant::pause;
        state.freeze.order = {1};
        for (Device& device : state.devices)
            device.paused = device.deaf = true;
        // They stand before their first instruction, and answer the order when their threads get to it.
        for (Vcpu& vcpu : state.vcpus)
            vcpu.stands = true;
        order_vcpus(state, true);
    }
    return state;
}

bool FreezeModel::a_vcpu_runs(const State& state) const {
    return std::any_of(state.vcpus.begin(), state.vcpus.begin() + setting_.vcpus,
                       [](const Vcpu& vcpu) { return !vcpu.stands; });
}

void FreezeModel::add_device_actions(const State& state, std::uint8_t index, Actions& actions) const {
    const Device& device = state.devices[index];
    if (device.order_count > 0)
        actions.add(act_of(FreezeAction::device_hears, index));
    if (device.answers.any)
        actions.add(act_of(FreezeAction::device_answer, index));
    if (device.answers.older)
        actions.add(act_of(FreezeAction::device_late, index));
    if (device.busy && !(setting_.hangs && index == 0))
        actions.add(act_of(FreezeAction::complete, index));
    if (!a_vcpu_runs(state))
        return;
    if (device.driven) {
        actions.add(act_of(FreezeAction::reset, index));
        if (!device.paused && !device.deaf && !device.busy)
            actions.add(act_of(FreezeAction::submit, index));
    } else {
        actions.add(act_of(FreezeAction::drive, index));
    }
}

Actions FreezeModel::actions(const State& state) const {
    Actions actions;
    // The main loop gives no order more than the queues of this model hold.
    const bool room = std::all_of(state.devices.begin(), state.devices.begin() + setting_.devices,
                                  [](const Device& device) { return device.order_count < max_orders; });
    for (const Claimant who : claiming) {
        if (state.freeze.claims.has(who) && room)
            actions.add(act_of(FreezeAction::release, static_cast<std::size_t>(who)));
        // One sweep and one copy at a time; an operator may ask again.
        const bool may = who == Claimant::pause ? !state.freeze.coming_to_rest() : !state.freeze.claims.has(who);
        if (may && state.claims_left > 0 && room)
            actions.add(act_of(FreezeAction::claim, static_cast<std::size_t>(who)));
    }
    if (state.freeze.phase == Phase::at_rest && state.freeze.claims.has(Claimant::copy))
        actions.add(act_of(FreezeAction::give_away));
    if (state.freeze.claims.has(Claimant::outgoing) && room)
        actions.add(act_of(FreezeAction::release, static_cast<std::size_t>(Claimant::outgoing)));
    if (state.deadline && room)
        actions.add(act_of(FreezeAction::deadline));
    if (setting_.dies && state.freeze.phase != Phase::crashed && state.freeze.phase != Phase::ended && room) {
        if (a_vcpu_runs(state))
            actions.add(act_of(FreezeAction::crash));
        actions.add(act_of(FreezeAction::end));
    }
    for (std::uint8_t index = 0; index < setting_.devices; ++index)
        add_device_actions(state, index, actions);
    for (std::uint8_t index = 0; index < setting_.vcpus; ++index) {
        const Vcpu& vcpu = state.vcpus[index];
        if (vcpu.order.number != vcpu.heard.number)
            actions.add(act_of(FreezeAction::vcpu_hears, index));
        if (vcpu.answers.any)
            actions.add(act_of(FreezeAction::vcpu_answer, index));
        if (vcpu.answers.older)
            actions.add(act_of(FreezeAction::vcpu_late, index));
    }
    return actions;
}

void FreezeModel::order_devices(State& state, bool pauses) const {
    for (std::size_t index = 0; index < setting_.devices; ++index) {
        Device& device = state.devices[index];
        device.orders.at(device.order_count++) = {pauses, state.freeze.order};
    }
}

void FreezeModel::order_vcpus(State& state, bool pauses) const {
    for (std::size_t index = 0; index < setting_.vcpus; ++index)
        state.vcpus[index].order = {pauses, state.freeze.order};
}

void FreezeModel::tell(State& state, FreezeEvent event) const {
    const bool was_waiting = state.freeze.coming_to_rest();
    switch (setting_.fault) {
    case FreezeFault::stale_answer:
        if (event.kind == FreezeEvent::Kind::device_rests || event.kind == FreezeEvent::Kind::vcpu_rests)
            event.order = state.freeze.order;
        break;
    case FreezeFault::resume_lost:
        if (event.kind == FreezeEvent::Kind::release && was_waiting) {
            state.freeze.claims.remove(event.who);
            state.unanswered.remove(event.who);
            return;
        }
        break;
    case FreezeFault::deadline_goes_on:
        if (event.kind == FreezeEvent::Kind::deadline) {
            state.deadline = false;
            state.freeze.claims = {};
            state.unanswered = {};
            return;
        }
        break;
    case FreezeFault::none:
    case FreezeFault::vcpus_first:
    case FreezeFault::device_forgotten:
    case FreezeFault::deadline_half:
        break;
    }
    const bool of_the_deadline = event.kind == FreezeEvent::Kind::deadline;
    for (const FreezeEffect& effect : step(state.freeze, event)) {
        if (setting_.fault == FreezeFault::deadline_half && of_the_deadline &&
            effect.kind == FreezeEffect::Kind::resume_devices)
            continue;
        carry_out(state, effect);
        if (setting_.fault == FreezeFault::vcpus_first && effect.kind == FreezeEffect::Kind::pause_devices)
            order_vcpus(state, true);
    }
}

void FreezeModel::carry_out(State& state, const FreezeEffect& effect) const {
    switch (effect.kind) {
    case FreezeEffect::Kind::pause_devices:
        return order_devices(state, true);
    case FreezeEffect::Kind::pause_vcpus:
        return order_vcpus(state, true);
    case FreezeEffect::Kind::resume_devices:
        return order_devices(state, false);
    case FreezeEffect::Kind::resume_vcpus:
        return order_vcpus(state, false);
    case FreezeEffect::Kind::start_deadline:
        state.deadline = true;
        state.deadline_order = state.freeze.order;
        return;
    case FreezeEffect::Kind::stop_deadline:
        state.deadline = false;
        return;
    case FreezeEffect::Kind::grant:
    case FreezeEffect::Kind::refuse:
        state.unanswered.remove(effect.who);
        return;
    }
}

/// virtio::MmioTransport and its device: pause() and resume().
void FreezeModel::hear(Device& device) const {
    const Order order = device.orders[0];
    std::shift_left(device.orders.begin(), device.orders.end(), 1);
    device.orders[--device.order_count] = {};
    device.paused = order.pauses;
    if (!order.pauses) {
        device.owes = false;
        if (setting_.fault != FreezeFault::device_forgotten || device.driven)
            device.deaf = false;
        return;
    }
    device.deaf |= device.driven;
    device.owes = true;
    device.owed = order.number;
    if (!device.busy)
        rest(device);
}

Verdict FreezeModel::apply(State& state, Action action) const {
    const auto kind = static_cast<FreezeAction>(action.kind);
    const std::uint8_t which = action.page;
    Device& device = state.devices[which % max_parts];
    Vcpu& vcpu = state.vcpus[which % max_parts];
    const auto who = static_cast<Claimant>(which);
    switch (kind) {
    case FreezeAction::claim:
        --state.claims_left;
        state.unanswered.add(who);
        tell(state, {.kind = FreezeEvent::Kind::claim, .who = who});
        break;
    case FreezeAction::release:
        tell(state, {.kind = FreezeEvent::Kind::release, .who = who});
        break;
    case FreezeAction::give_away:
        tell(state, {.kind = FreezeEvent::Kind::give_away});
        break;
    case FreezeAction::deadline:
        tell(state, {.kind = FreezeEvent::Kind::deadline, .order = state.deadline_order});
        break;
    case FreezeAction::crash:
        tell(state, {.kind = FreezeEvent::Kind::crashed});
        break;
    case FreezeAction::end:
        tell(state, {.kind = FreezeEvent::Kind::ended});
        break;
    case FreezeAction::device_hears:
        hear(device);
        break;
    case FreezeAction::device_answer:
        device.answers.any = device.answers.older = false; // the older ones came before, and did nothing
        tell(state, {.kind = FreezeEvent::Kind::device_rests, .order = device.answers.last, .part = which});
        break;
    case FreezeAction::device_late:
        device.answers.older = false;
        tell(state, {.kind = FreezeEvent::Kind::device_rests, .order = {}, .part = which});
        break;
    case FreezeAction::vcpu_hears:
        vcpu.heard = vcpu.order;
        vcpu.stands = vcpu.order.pauses;
        if (vcpu.stands)
            post(vcpu.answers, vcpu.order.number);
        break;
    case FreezeAction::vcpu_answer:
        vcpu.answers.any = vcpu.answers.older = false;
        tell(state, {.kind = FreezeEvent::Kind::vcpu_rests, .order = vcpu.answers.last, .part = which});
        break;
    case FreezeAction::vcpu_late:
        vcpu.answers.older = false;
        tell(state, {.kind = FreezeEvent::Kind::vcpu_rests, .order = {}, .part = which});
        break;
    case FreezeAction::submit:
        device.busy = true;
        break;
    case FreezeAction::complete:
        rest(device);
        break;
    case FreezeAction::reset:
        device.driven = false;
        rest(device);
        break;
    case FreezeAction::drive:
        device.driven = true;
        device.deaf |= device.paused;
        break;
    }
    return judge(state);
}

bool FreezeModel::settled(const State& state) const {
    const auto quiet = [](const Answers& answers) { return !answers.any; };
    for (std::size_t index = 0; index < setting_.devices; ++index)
        if (const Device& device = state.devices[index]; device.order_count > 0 || !quiet(device.answers))
            return false;
    for (std::size_t index = 0; index < setting_.vcpus; ++index)
        if (const Vcpu& vcpu = state.vcpus[index]; vcpu.order.number != vcpu.heard.number || !quiet(vcpu.answers))
            return false;
    return !state.deadline;
}

Verdict FreezeModel::judge(const State& state) const {
    const auto devices = std::span(state.devices).first(setting_.devices);
    const auto vcpus = std::span(state.vcpus).first(setting_.vcpus);
    const Freeze& freeze = state.freeze;
    const bool a_device_moves = std::ranges::any_of(devices, &Device::busy) ||
                                std::ranges::any_of(devices, [](const Device& device) { return !device.paused; });
    if (freeze.phase == Phase::at_rest && (a_device_moves || a_vcpu_runs(state)))
        return Verdict::moves_at_rest;
    const bool stops_vcpus = std::ranges::any_of(vcpus, [](const Vcpu& vcpu) { return vcpu.order.pauses; });
    if (freeze.phase == Phase::stopping_devices && stops_vcpus)
        return Verdict::held_for_nothing;
    if (!settled(state))
        return Verdict::safe;
    // No order and no answer is on its way, and no time limit runs: what is, stays.
    const bool everything_runs =
        std::ranges::none_of(devices, [](const Device& device) { return device.paused || device.deaf; }) &&
        std::ranges::none_of(vcpus, &Vcpu::stands);
    if (!state.unanswered.empty() || freeze.coming_to_rest())
        return Verdict::stuck;
    if (freeze.phase == Phase::running && !everything_runs)
        return Verdict::held_for_nothing;
    if (freeze.phase == Phase::at_rest && freeze.claims.empty())
        return Verdict::held_for_nothing;
    return Verdict::safe;
}

bool FreezeModel::finished(const State& state) const {
    return settled(state);
}

/// Keeps of an order only whether it is the last one: the rest makes no difference.
std::uint64_t FreezeModel::fingerprint(const State& state) const {
    Fingerprint fingerprint;
    std::uint64_t key = 0;
    const auto field = [&key](unsigned bits, std::uint64_t value) { key = key << bits | value; };
    const auto current = [&](OrderNumber number) { return number == state.freeze.order ? 1U : 0U; };
    const auto answers = [&](const Answers& on_way) {
        field(1, on_way.any ? 1 : 0);
        field(1, on_way.older ? 1 : 0);
        field(1, on_way.any ? current(on_way.last) : 0);
    };
    field(3, static_cast<unsigned>(state.freeze.phase));
    field(5, state.freeze.claims.bits());
    field(5, state.unanswered.bits());
    field(2, state.freeze.moving.to_ullong());
    field(3, state.claims_left);
    field(1, state.deadline ? 1 : 0);
    field(1, state.deadline ? current(state.deadline_order) : 0);
    fingerprint.mix(key);
    for (const Device& device : state.devices) {
        key = 0;
        field(2, device.order_count);
        for (const Order& order : std::span(device.orders).first(device.order_count)) {
            field(1, order.pauses ? 1 : 0);
            field(1, current(order.number));
        }
        for (const bool flag : {device.driven, device.busy, device.paused, device.deaf, device.owes})
            field(1, flag ? 1 : 0);
        field(1, device.owes ? current(device.owed) : 0);
        answers(device.answers);
        fingerprint.mix(key);
    }
    for (const Vcpu& vcpu : state.vcpus) {
        key = 0;
        field(1, vcpu.order.pauses ? 1 : 0);
        field(1, current(vcpu.order.number));
        field(1, vcpu.order.number == vcpu.heard.number ? 1 : 0);
        field(1, vcpu.stands ? 1 : 0);
        answers(vcpu.answers);
        fingerprint.mix(key);
    }
    return fingerprint.value();
}

} // namespace aerate::prove
