#include "prove/freeze_model.hpp"
#include "prove/story.hpp"

#include <fmt/format.h>

namespace aerate::prove {
namespace {

using protocol::Claimant;
using State = FreezeModel::State;
using Phase = protocol::Freeze::Phase;

enum Party : unsigned { claimants, monitor, devices, vcpus };

std::string_view name_of(Claimant who) {
    switch (who) {
    case Claimant::pause:
        return "The operator";
    case Claimant::sweep:
        return "A sweep";
    case Claimant::copy:
        return "A copy";
    case Claimant::incoming:
        return "The source";
    case Claimant::outgoing:
        return "The operator, by force,";
    }
    return "";
}

std::string what_follows(const State& before, const State& after) {
    std::string text;
    if (after.freeze.phase == before.freeze.phase)
        return text;
    switch (after.freeze.phase) {
    case Phase::running:
        return " The guest is told to go on.";
    case Phase::stopping_devices:
        return fmt::format(" The devices are told to come to rest: order {}.", after.freeze.order.value);
    case Phase::stopping_vcpus:
        return " All devices count as at rest; the vCPUs are told to stop.";
    case Phase::at_rest:
        return " The guest counts as at rest, and those who wait are told so.";
    case Phase::crashed:
    case Phase::ended:
        return " Those who wait are refused.";
    }
    return text;
}

StoryStep step_of(const State& before, Action action, const State& after) {
    const unsigned which = action.page;
    const char letter = static_cast<char>('A' + which);
    const bool decisive = after.freeze.phase != before.freeze.phase;
    const std::string then = what_follows(before, after);
    switch (static_cast<FreezeAction>(action.kind)) {
    case FreezeAction::claim:
        return {claimants, monitor, "rest",
                fmt::format("{} wants the guest at rest.{}", name_of(static_cast<Claimant>(which)), then), decisive};
    case FreezeAction::release:
        return {claimants, monitor, "go on",
                fmt::format("{} no longer wants it at rest.{}", name_of(static_cast<Claimant>(which)), then), decisive};
    case FreezeAction::give_away:
        return {claimants, monitor, "given away", "The copy was given to a destination that does not answer."};
    case FreezeAction::deadline:
        return {monitor, monitor, "deadline", fmt::format("The deadline passes.{}", then), true};
    case FreezeAction::crash:
        return {vcpus, monitor, "crash", fmt::format("A vCPU cannot go on.{}", then), true};
    case FreezeAction::end:
        return {claimants, monitor, "end", fmt::format("The VM is ended.{}", then), true};
    case FreezeAction::device_hears: {
        const auto& order = before.devices[which].orders[0];
        return {monitor, devices, order.pauses ? "pause" : "resume",
                fmt::format("Device {} {}, by order {}.", letter,
                            order.pauses ? "takes no more buffers" : "serves its queues", order.number.value)};
    }
    case FreezeAction::device_answer:
        return {devices, monitor, "rests",
                fmt::format("The monitor hears that device {} rests, by order {}.{}", letter,
                            before.devices[which].answers.last.value, then),
                decisive};
    case FreezeAction::device_late:
        return {devices, monitor, "rests",
                fmt::format("The monitor hears that device {} rests, by an older order.{}", letter, then), decisive};
    case FreezeAction::vcpu_hears:
        return {monitor, vcpus, before.vcpus[which].order.pauses ? "pause" : "resume",
                fmt::format("vCPU {} {}, by order {}.", which, before.vcpus[which].order.pauses ? "stops" : "runs",
                            before.vcpus[which].order.number.value)};
    case FreezeAction::vcpu_answer:
        return {vcpus, monitor, "rests",
                fmt::format("The monitor hears that vCPU {} stands, by order {}.{}", which,
                            before.vcpus[which].answers.last.value, then),
                decisive};
    case FreezeAction::vcpu_late:
        return {vcpus, monitor, "rests",
                fmt::format("The monitor hears that vCPU {} stands, by an older order.{}", which, then), decisive};
    case FreezeAction::submit:
        return {vcpus, devices, "buffer", fmt::format("The guest gives device {} a buffer.", letter)};
    case FreezeAction::complete:
        return {devices, vcpus, "used", fmt::format("Device {} is through with its buffers.", letter)};
    case FreezeAction::reset:
        return {vcpus, devices, "reset", fmt::format("The guest resets device {}.", letter)};
    case FreezeAction::drive:
        return {vcpus, devices, "DRIVER_OK", fmt::format("The guest sets device {} up again.", letter)};
    }
    return {};
}

} // namespace

std::optional<Story> tell_freeze(const FreezeSetting& setting, const Trace& trace) {
    const FreezeModel model(setting);
    Story story;
    story.parties = {"claimants", "monitor", "devices", "vCPUs"};
    const auto verdict = replay(model, trace, [&](const State& before, Action action, const State& after) {
        story.steps.push_back(step_of(before, action, after));
    });
    if (!verdict)
        return std::nullopt;
    if (setting.fault == FreezeFault::vcpus_first)
        story.end = "The vCPUs are told to stop as well: a disk that hangs takes the guest with it until the deadline.";
    else if (*verdict == Verdict::moves_at_rest)
        story.end = "Somebody was told that the guest rests, and reads or discards memory that is being written.";
    else if (*verdict == Verdict::held_for_nothing)
        story.end = "Something stands still that should not, and nobody will tell it to go on.";
    else
        story.end = "Nobody is told anything any more.";
    return story;
}

} // namespace aerate::prove
