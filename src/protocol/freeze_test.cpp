#include "protocol/freeze.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <vector>

namespace aerate::protocol {
namespace {

using Event = FreezeEvent::Kind;
using Effect = FreezeEffect::Kind;
using Phase = Freeze::Phase;

std::vector<Effect> kinds(const FreezeEffects& effects) {
    std::vector<Effect> kinds;
    for (const FreezeEffect& effect : effects)
        kinds.push_back(effect.kind);
    return kinds;
}

std::vector<Effect> claim(Freeze& state, Claimant who) {
    return kinds(step(state, {.kind = Event::claim, .who = who}));
}
std::vector<Effect> release(Freeze& state, Claimant who) {
    return kinds(step(state, {.kind = Event::release, .who = who}));
}
std::vector<Effect> device_rests(Freeze& state, unsigned part) {
    return kinds(step(state, {.kind = Event::device_rests, .order = state.order, .part = part}));
}
std::vector<Effect> vcpu_rests(Freeze& state, unsigned part) {
    return kinds(step(state, {.kind = Event::vcpu_rests, .order = state.order, .part = part}));
}
std::optional<FreezeEffect> refusal(const FreezeEffects& effects) {
    const auto* const found = std::ranges::find(effects, Effect::refuse, &FreezeEffect::kind);
    return found == effects.end() ? std::nullopt : std::optional(*found);
}

Freeze guest(std::uint8_t devices = 2, std::uint8_t vcpus = 2) {
    Freeze state;
    state.devices = devices;
    state.vcpus = vcpus;
    return state;
}

Freeze at_rest(Claimant who) {
    Freeze state = guest(1, 1);
    (void)claim(state, who);
    (void)device_rests(state, 0);
    (void)vcpu_rests(state, 0);
    EXPECT_EQ(state.phase, Phase::at_rest);
    return state;
}

TEST(Freeze, DevicesFirstThenVcpusThenTheAnswer) {
    Freeze state = guest();
    EXPECT_EQ(claim(state, Claimant::pause), (std::vector{Effect::start_deadline, Effect::pause_devices}));
    EXPECT_FALSE(state.holds(Claimant::pause)) << "it is still coming to rest";
    EXPECT_TRUE(device_rests(state, 1).empty());
    EXPECT_TRUE(device_rests(state, 1).empty()) << "twice is once";
    EXPECT_EQ(device_rests(state, 0), (std::vector{Effect::pause_vcpus}));
    EXPECT_TRUE(vcpu_rests(state, 0).empty());
    EXPECT_EQ(vcpu_rests(state, 1), (std::vector{Effect::stop_deadline, Effect::grant}));
    EXPECT_TRUE(state.holds(Claimant::pause));
    EXPECT_EQ(release(state, Claimant::pause), (std::vector{Effect::resume_devices, Effect::resume_vcpus}));
    EXPECT_EQ(state.phase, Phase::running);
}

TEST(Freeze, AGuestWithoutDevicesStopsItsVcpusAtOnce) {
    Freeze state = guest(0, 1);
    EXPECT_EQ(claim(state, Claimant::copy),
              (std::vector{Effect::start_deadline, Effect::pause_devices, Effect::pause_vcpus}));
}

TEST(Freeze, RestsForTheFirstAndGoesOnAfterTheLast) {
    Freeze state = guest(1, 1);
    (void)claim(state, Claimant::sweep);
    EXPECT_TRUE(claim(state, Claimant::pause).empty()) << "it is coming to rest already";
    (void)device_rests(state, 0);
    EXPECT_EQ(vcpu_rests(state, 0), (std::vector{Effect::stop_deadline, Effect::grant, Effect::grant}));
    EXPECT_EQ(claim(state, Claimant::copy), (std::vector{Effect::grant})) << "it rests already";
    EXPECT_TRUE(release(state, Claimant::sweep).empty());
    EXPECT_TRUE(release(state, Claimant::pause).empty());
    EXPECT_EQ(release(state, Claimant::copy), (std::vector{Effect::resume_devices, Effect::resume_vcpus}));
    EXPECT_TRUE(release(state, Claimant::copy).empty());
}

TEST(Freeze, C3_ADeadlineUndoesEverythingAndNamesWhoIsStillMoving) {
    Freeze state = guest();
    (void)claim(state, Claimant::pause);
    (void)claim(state, Claimant::copy);
    (void)device_rests(state, 0);
    const auto effects = step(state, {.kind = Event::deadline, .order = state.order});
    EXPECT_EQ(kinds(effects),
              (std::vector{Effect::stop_deadline, Effect::resume_devices, Effect::refuse, Effect::refuse}));
    EXPECT_EQ(refusal(effects)->devices, Parts(0b10));
    EXPECT_EQ(refusal(effects)->vcpus, Parts());
    EXPECT_EQ(state.phase, Phase::running);
    EXPECT_TRUE(state.claims.empty()) << "a command that failed has no effect";
    (void)claim(state, Claimant::pause);
    (void)device_rests(state, 0);
    (void)device_rests(state, 1);
    (void)vcpu_rests(state, 1);
    const auto later = step(state, {.kind = Event::deadline, .order = state.order});
    EXPECT_EQ(kinds(later),
              (std::vector{Effect::stop_deadline, Effect::resume_devices, Effect::resume_vcpus, Effect::refuse}));
    EXPECT_EQ(refusal(later)->vcpus, Parts(0b01));
}

TEST(Freeze, C3_ADeadlineOfAnOlderOrderDoesNothing) {
    Freeze state = guest(1, 1);
    (void)claim(state, Claimant::pause);
    const OrderNumber old = state.order;
    (void)release(state, Claimant::pause);
    (void)claim(state, Claimant::pause);
    const Freeze before = state;
    EXPECT_EQ(step(state, {.kind = Event::deadline, .order = old}).size(), 0U);
    EXPECT_EQ(state, before);
}

TEST(Freeze, C3_AClaimCanBeWithdrawnInEachPhase) {
    for (unsigned answers = 0; answers < 4; ++answers) {
        Freeze state = guest();
        (void)claim(state, Claimant::pause);
        for (unsigned part = 0; part < std::min(answers, 2U); ++part)
            (void)device_rests(state, part);
        for (unsigned part = 2; part < answers; ++part)
            (void)vcpu_rests(state, part - 2);
        const auto effects = step(state, {.kind = Event::release, .who = Claimant::pause});
        EXPECT_EQ(refusal(effects)->why, Refusal::withdrawn);
        EXPECT_EQ(state.phase, Phase::running);
        EXPECT_EQ(std::ranges::count(effects, Effect::resume_devices, &FreezeEffect::kind), 1);
        EXPECT_EQ(std::ranges::count(effects, Effect::resume_vcpus, &FreezeEffect::kind), answers < 2 ? 0 : 1);
    }
    // Another one still wants it.
    Freeze state = guest();
    (void)claim(state, Claimant::pause);
    (void)claim(state, Claimant::copy);
    EXPECT_EQ(release(state, Claimant::pause), (std::vector{Effect::refuse}));
    EXPECT_EQ(state.phase, Phase::stopping_devices);
}

TEST(Freeze, C20_AnAnswerToAnOlderOrderIsNotCounted) {
    Freeze state = guest(1, 1);
    (void)claim(state, Claimant::pause);
    const OrderNumber old = state.order;
    (void)device_rests(state, 0);
    (void)release(state, Claimant::pause);
    (void)claim(state, Claimant::copy);
    EXPECT_EQ(step(state, {.kind = Event::device_rests, .order = old}).size(), 0U);
    EXPECT_EQ(state.phase, Phase::stopping_devices) << "the device was told to go on since";
    (void)device_rests(state, 0);
    EXPECT_EQ(step(state, {.kind = Event::vcpu_rests, .order = old}).size(), 0U);
    EXPECT_EQ(state.phase, Phase::stopping_vcpus) << "and so was the vCPU";
}

/// A restored guest's vCPUs begin with the order to pause, and answer it when they get to it.
TEST(Freeze, C20_TheAnswerToTheFirstOrderAfterARestoreIsNotTheNextFreezes) {
    Freeze state = guest(0, 1);
    state.phase = Phase::at_rest;
    state.claims = Claimant::pause;
    state.order = {1};
    (void)release(state, Claimant::pause);
    (void)claim(state, Claimant::copy);
    EXPECT_EQ(step(state, {.kind = Event::vcpu_rests, .order = {1}}).size(), 0U);
    EXPECT_FALSE(state.holds(Claimant::copy));
}

TEST(Freeze, WhatWasGivenAwayIsHeldUntilAnOperatorDecides) {
    Freeze state = at_rest(Claimant::copy);
    EXPECT_EQ(step(state, {.kind = Event::give_away}).size(), 0U);
    EXPECT_TRUE(release(state, Claimant::copy).empty()) << "the copy has nothing to release any more";
    EXPECT_TRUE(release(state, Claimant::pause).empty());
    EXPECT_TRUE(state.holds(Claimant::outgoing));
    EXPECT_EQ(release(state, Claimant::outgoing), (std::vector{Effect::resume_devices, Effect::resume_vcpus}));
    EXPECT_EQ(step(state, {.kind = Event::give_away}).size(), 0U) << "only what a copy holds can be given away";
    EXPECT_FALSE(state.claims.has(Claimant::outgoing));
}

TEST(Freeze, ACrashOrAnEndAnswersThoseWhoWaitAndThoseWhoCome) {
    for (const auto& [event, phase, why] :
         {std::tuple{Event::crashed, Phase::crashed, Refusal::crashed}, {Event::ended, Phase::ended, Refusal::ended}}) {
        Freeze state = guest(1, 1);
        (void)claim(state, Claimant::pause);
        const auto effects = step(state, {.kind = event});
        EXPECT_EQ(refusal(effects)->why, why);
        EXPECT_EQ(state.phase, phase);
        EXPECT_TRUE(device_rests(state, 0).empty());
        EXPECT_EQ(refusal(step(state, {.kind = Event::claim, .who = Claimant::copy}))->why, why);
        EXPECT_TRUE(release(state, Claimant::copy).empty());

        Freeze held = at_rest(Claimant::copy);
        EXPECT_FALSE(refusal(step(held, {.kind = event}))) << "it was answered before";
        EXPECT_TRUE(release(held, Claimant::copy).empty()) << "and nothing goes on any more";
    }
    Freeze state = guest();
    (void)step(state, {.kind = Event::ended});
    EXPECT_EQ(step(state, {.kind = Event::crashed}).size(), 0U);
}

/// Whatever comes in whatever order: each claim is answered once, at rest means that everything rests by the last
/// order, and without a claim everything was told to go on.
TEST(Freeze, C3_HoldsWhatItSaysInEveryHistory) {
    std::mt19937 random(1); // NOLINT(cert-msc32-c,cert-msc51-cpp): the same histories each time
    const auto below = [&](unsigned limit) { return static_cast<unsigned>(random() % limit); };
    for (int history = 0; history < 2000; ++history) {
        Freeze state = guest(static_cast<std::uint8_t>(below(3)), static_cast<std::uint8_t>(1 + below(3)));
        std::array<unsigned, claimants> unanswered{};
        bool deadline = false;
        bool devices_told_to_rest = false;
        bool vcpus_told_to_rest = false;
        Parts devices_rest;
        Parts vcpus_rest;
        for (int event_number = 0; event_number < 60; ++event_number) {
            FreezeEvent event{.kind = static_cast<Event>(below(below(20) == 0 ? 8 : 6)),
                              .who = static_cast<Claimant>(below(3)),
                              .order = {state.order.value - std::min(state.order.value, below(2))},
                              .part = below(3)};
            if (event.part >= (event.kind == Event::vcpu_rests ? state.vcpus : state.devices) &&
                (event.kind == Event::device_rests || event.kind == Event::vcpu_rests))
                continue;
            if (event.kind == Event::deadline && (!deadline || below(4) != 0))
                continue;
            if (event.order == state.order && event.kind == Event::device_rests && devices_told_to_rest)
                devices_rest.set(event.part);
            if (event.order == state.order && event.kind == Event::vcpu_rests && vcpus_told_to_rest)
                vcpus_rest.set(event.part);
            if (event.kind == Event::claim)
                unanswered[static_cast<std::size_t>(event.who)] = 1;
            for (const FreezeEffect& effect : step(state, event)) {
                switch (effect.kind) {
                case Effect::pause_devices:
                    devices_told_to_rest = true;
                    devices_rest.reset();
                    break;
                case Effect::pause_vcpus:
                    EXPECT_TRUE(state.phase == Phase::crashed || devices_rest.count() == state.devices);
                    vcpus_told_to_rest = true;
                    vcpus_rest.reset();
                    break;
                case Effect::resume_devices:
                    devices_told_to_rest = false;
                    break;
                case Effect::resume_vcpus:
                    vcpus_told_to_rest = false;
                    break;
                case Effect::start_deadline:
                    EXPECT_FALSE(std::exchange(deadline, true));
                    break;
                case Effect::stop_deadline:
                    EXPECT_TRUE(std::exchange(deadline, false));
                    break;
                case Effect::grant:
                case Effect::refuse:
                    EXPECT_EQ(std::exchange(unanswered[static_cast<std::size_t>(effect.who)], 0U), 1U);
                    // A claimant keeps its hold after the guest has ended; a new claim of its is refused.
                    if (state.phase != Phase::crashed && state.phase != Phase::ended) {
                        EXPECT_EQ(state.holds(effect.who), effect.kind == Effect::grant);
                    }
                    break;
                }
            }
            EXPECT_EQ(deadline, state.coming_to_rest());
            if (state.phase == Phase::running) {
                EXPECT_TRUE(state.claims.empty());
                EXPECT_FALSE(devices_told_to_rest || vcpus_told_to_rest);
            }
            if (state.phase == Phase::at_rest) {
                EXPECT_EQ(devices_rest.count(), state.devices);
                EXPECT_EQ(vcpus_rest.count(), state.vcpus);
            }
            for (std::size_t who = 0; who < claimants; ++who)
                EXPECT_EQ(unanswered[who] == 1, state.coming_to_rest() && state.claims.has(static_cast<Claimant>(who)));
        }
    }
}

} // namespace
} // namespace aerate::protocol
