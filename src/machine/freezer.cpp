#include "machine/freezer.hpp"

#include "base/check.hpp"

#include <utility>

namespace aerate {
namespace {

using Event = protocol::FreezeEvent::Kind;
using Effect = protocol::FreezeEffect::Kind;
using protocol::Refusal;

void add_names(std::string& list, const std::vector<Freezer::Part>& parts, const protocol::Parts& chosen) {
    for (std::size_t index = 0; index < parts.size(); ++index)
        if (chosen.test(index))
            list += (list.empty() ? "" : ", ") + parts[index].name;
}

} // namespace

Freezer::Freezer(EventLoop& loop, std::chrono::milliseconds longest)
    : loop_(loop)
    , longest_(longest) {}

void Freezer::take(Guest guest, Phase phase, protocol::Claims claims) {
    CHECK(loop_.owned_here());
    CHECK(guest.devices.size() <= protocol::Parts().size() && guest.vcpus.size() <= protocol::Parts().size());
    guest_ = std::move(guest);
    state_ = {.phase = phase,
              .order = {1},
              .claims = claims,
              .moving = {},
              .devices = static_cast<std::uint8_t>(guest_.devices.size()),
              .vcpus = static_cast<std::uint8_t>(guest_.vcpus.size())};
    stopped_since_ = Clock::now();
}

void Freezer::begin_running(Guest guest) {
    take(std::move(guest), Phase::running, {});
    for (const Part& vcpu : guest_.vcpus)
        vcpu.resume(state_.order);
}

void Freezer::begin_at_rest(Guest guest, Claimant who) {
    take(std::move(guest), Phase::at_rest, who);
    for (const Part& vcpu : guest_.vcpus)
        vcpu.pause(state_.order);
}

void Freezer::claim(Claimant who, Held held) {
    waiting_[static_cast<std::size_t>(who)].push_back(std::move(held));
    tell({.kind = Event::claim, .who = who});
}

void Freezer::release(Claimant who) {
    tell({.kind = Event::release, .who = who});
}

void Freezer::device_rests(unsigned index, OrderNumber order) {
    tell({.kind = Event::device_rests, .order = order, .part = index});
}

void Freezer::vcpu_rests(unsigned index, OrderNumber order) {
    tell({.kind = Event::vcpu_rests, .order = order, .part = index});
}

void Freezer::crashed(std::string why) {
    gone_ = std::move(why);
    tell({.kind = Event::crashed});
}

void Freezer::ended(std::string why) {
    gone_ = std::move(why);
    tell({.kind = Event::ended});
}

/// Carries out an event. An answer may lead to the next event at once: each effect belongs to the order that was the
/// last one when it was decided.
void Freezer::tell(const protocol::FreezeEvent& event) {
    CHECK(loop_.owned_here());
    const auto effects = protocol::step(state_, event);
    const OrderNumber order = state_.order;
    for (const protocol::FreezeEffect& effect : effects)
        carry_out(effect, order);
    if (changed_)
        changed_();
}

void Freezer::carry_out(const protocol::FreezeEffect& effect, OrderNumber order) {
    switch (effect.kind) {
    case Effect::pause_devices:
        for (const Part& device : guest_.devices)
            device.pause(order);
        return;
    case Effect::pause_vcpus:
        stopped_since_ = Clock::now();
        for (const Part& vcpu : guest_.vcpus)
            vcpu.pause(order);
        return;
    case Effect::resume_devices:
        for (const Part& device : guest_.devices)
            device.resume(order);
        return;
    case Effect::resume_vcpus:
        for (const Part& vcpu : guest_.vcpus)
            vcpu.resume(order);
        return;
    case Effect::start_deadline:
        deadline_ = loop_.after(longest_, [this, order] { tell({.kind = Event::deadline, .order = order}); });
        return;
    case Effect::stop_deadline:
        return deadline_.cancel();
    case Effect::grant:
        return answer(effect.who, {});
    case Effect::refuse:
        return answer(effect.who, fail("{}", describe(effect)));
    }
}

void Freezer::answer(Claimant who, const Result<>& result) {
    for (Held& held : std::exchange(waiting_[static_cast<std::size_t>(who)], {}))
        held(result);
}

std::string Freezer::describe(const protocol::FreezeEffect& refusal) const {
    switch (refusal.why) {
    case Refusal::too_slow: {
        std::string names;
        add_names(names, guest_.devices, refusal.devices);
        add_names(names, guest_.vcpus, refusal.vcpus);
        return fmt::format("the guest did not come to rest within {} ms, and runs on: {} {} still at work",
                           longest_.count(), names,
                           refusal.devices.count() + refusal.vcpus.count() == 1 ? "is" : "are");
    }
    case Refusal::withdrawn:
        return "the request was withdrawn before the guest had come to rest";
    case Refusal::crashed:
    case Refusal::ended:
        return gone_;
    }
    return {};
}

} // namespace aerate
