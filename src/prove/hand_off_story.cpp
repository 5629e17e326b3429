#include "prove/hand_off_model.hpp"
#include "prove/story.hpp"

namespace aerate::prove {
namespace {

using protocol::HandOffDestination;
using protocol::HandOffSource;
using State = HandOffModel::State;

enum Party : unsigned { source, destination };

StoryStep source_acts(HandOffSource::Effect effect) {
    using Effect = HandOffSource::Effect;
    switch (effect) {
    case Effect::send_state:
        return {source, destination, "STATE",
                "The source freezes its guest and sends the last of its state, with the root of the hash tree."};
    case Effect::record_given:
        return {source, source, "record given",
                "The source writes down that it gives the guest away: it will not resume by itself."};
    case Effect::send_go:
        return {source, destination, "GO", "The source sends GO."};
    case Effect::claim:
        return {source, source, "claim", "The source tries to claim the lease."};
    case Effect::resume:
        return {source, source, "run", "The source runs the guest again.", true};
    case Effect::destroy:
        return {source, source, "destroy", "The source forgets its copy."};
    case Effect::ask_operator:
        return {source, source, "wait",
                "The source cannot know whether GO arrived. It stays quiet and asks its operator.", true};
    }
    return {};
}

StoryStep destination_acts(HandOffDestination::Effect effect) {
    using Effect = HandOffDestination::Effect;
    switch (effect) {
    case Effect::send_ready:
        return {destination, source, "READY", "Everything is here and its hash matches: the destination says READY."};
    case Effect::send_mismatch:
        return {destination, source, "REFUSED", "The hash does not match, and the destination says so."};
    case Effect::claim:
        return {destination, destination, "claim", "The destination tries to claim the lease."};
    case Effect::run_and_ack:
        return {destination, source, "run, ACK", "The destination runs the guest and says so.", true};
    case Effect::discard:
        return {destination, source, "discard, REFUSED", "The destination forgets its copy, and says so."};
    }
    return {};
}

StoryStep step_of(const State& before, Action action) {
    switch (static_cast<HandOffAction>(action.kind)) {
    case HandOffAction::all_sent:
        return {source, source, "all sent", "The source has sent all pages."};
    case HandOffAction::source_acts:
        return source_acts(*before.source_effect);
    case HandOffAction::source_trouble:
        return {source, source, "time is up",
                "The source hears nothing, sees the connection cut, or is told to cancel."};
    case HandOffAction::deliver_to_source:
        return {source, source, "receives", "The source receives the message."};
    case HandOffAction::source_dies:
        return {source, source, "killed", "The source's monitor is killed."};
    case HandOffAction::destination_acts:
        return destination_acts(*before.destination_effect);
    case HandOffAction::destination_trouble:
        return {destination, destination, "time is up", "The destination hears nothing, or sees the connection cut."};
    case HandOffAction::deliver_to_destination:
        return {destination, destination, "receives", "The destination receives the message."};
    case HandOffAction::destination_dies:
        return {destination, destination, "killed", "The destination's monitor is killed."};
    case HandOffAction::cut:
        return {source, destination, "cut", "The connection is cut: what was on its way is lost.", true};
    }
    return {};
}

} // namespace

std::optional<Story> tell_hand_off(const HandOffSetting& setting, const Trace& trace) {
    const HandOffModel model(setting);
    Story story;
    story.parties = {"source", "destination"};
    const auto verdict = replay(model, trace, [&](const State& before, Action action, const State&) {
        story.steps.push_back(step_of(before, action));
    });
    if (!verdict)
        return std::nullopt;
    story.end = *verdict == Verdict::two_running ? "Both sides run the guest, on the same disks."
                : *verdict == Verdict::safe
                    ? "Neither side runs the guest; nothing is lost, and an operator decides. That is the limit of two "
                      "generals without a lease."
                    : "Nothing can go on.";
    return story;
}

} // namespace aerate::prove
