#include "prove/hint_model.hpp"
#include "prove/story.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace aerate::prove {
namespace {

using Chain = HintModel::Chain;
using State = HintModel::State;
using Kind = HintAction;

enum Party : unsigned { guest, queue, balloon, log, copy };

class StoryWriter {
public:
    explicit StoryWriter(const HintSetting& setting)
        : setting_(setting) {}

    StoryStep step(const State& before, Action action, const State& after) const {
        const char page = static_cast<char>('A' + action.page);
        switch (static_cast<Kind>(action.kind)) {
        case Kind::take:
            return take(before, page, action.page);
        case Kind::write:
            return {guest, notices_writes(), fmt::format("write {}", page),
                    fmt::format("The owner of {} writes to it again. {}", page, trace_of_write(before, action.page))};
        case Kind::give:
            return {guest, guest, fmt::format("free {}", page), fmt::format("The owner of {} frees it.", page)};
        case Kind::look:
            return {balloon, guest, fmt::format("config: {}", command(after.seen)),
                    fmt::format("The driver reads the config space: {}.", command(after.seen))};
        case Kind::begin:
            return begin(before, after);
        case Kind::mark:
            return {guest, queue, fmt::format("start, {}", command(before.word)),
                    before.queued == setting_.queue
                        ? "The start marker finds the ring full and is lost."
                        : fmt::format("The driver queues its start marker: that word, which reads {} now.",
                                      command(before.word))};
        case Kind::hint:
            return {guest, queue, fmt::format("hint {}", page),
                    fmt::format("The driver allocates free block {}{} and queues a hint for it.", page,
                                setting_.clears ? ", which the kernel clears," : "")};
        case Kind::end:
            return {guest, queue, "stop marker",
                    before.queued == setting_.queue
                        ? "The driver has no more, but its stop marker finds the ring full and is lost."
                        : "The driver has no more: it queues its stop marker."};
        case Kind::release:
            return {
                guest, guest, fmt::format("release {}", page),
                fmt::format("The buffer of {} was used, so the driver gives {} back to the allocator.", page, page)};
        case Kind::done:
            return {guest, guest, "release all", "The driver has read DONE and gives back what it holds."};
        case Kind::report:
            return {guest, balloon, fmt::format("report {}", page),
                    fmt::format("Free page reporting: {} is isolated, the monitor discards it and notes that, the "
                                "guest has it back.",
                                page)};
        case Kind::lend:
            return {
                guest, guest, fmt::format("{} as buffer", page),
                fmt::format(
                    "The guest gives {} to a disk as a buffer to read into. No vCPU writes to it, so KVM logs nothing.",
                    page)};
        case Kind::land:
            return {balloon, guest, fmt::format("data in {}", page),
                    fmt::format("The monitor's disk I/O puts data into {}. KVM's log does not see it, and the monitor "
                                "has not recorded it yet.",
                                page)};
        case Kind::complete:
            return {
                balloon, balloon, fmt::format("complete {}", page),
                setting_.fault == Fault::device_writes_pending
                    ? fmt::format("The I/O completes: the monitor marks {} in the set of *this* round.", page)
                    : fmt::format("The I/O completes: the monitor records {} in its own log, of the next generation.",
                                  page)};
        case Kind::pop:
            return pop(before, after);
        case Kind::scan:
            return {balloon, guest, fmt::format("scan {}", page),
                    fmt::format("The monitor reads {}{}: it {}.", page,
                                setting_.by_content ? "" : ", which was written since the ID",
                                before.zero.has(action.page) ? "is all zero" : "holds data")};
        case Kind::discard_page:
            return {balloon, guest, fmt::format("discard {}", page),
                    fmt::format("The monitor carries out the discard of {} that it decided on before.", page), true};
        case Kind::hint_late:
            return {balloon, balloon, fmt::format("late hint {}", page),
                    fmt::format("The hint for {}, accepted before the harvest, takes effect only now.", page), true};
        case Kind::read_log:
            return read_log();
        case Kind::rearm_log:
            return {balloon, log, "clear log",
                    setting_.log == Log::ring
                        ? "The rings are reset: the pages collected are write-protected again."
                        : "KVM_CLEAR_DIRTY_LOG over everything that was read: those pages are write-protected again."};
        case Kind::publish:
            return publish(before, after);
        case Kind::send:
            return send(before, after);
        case Kind::hand_over:
            return {balloon, copy, "hand over", "Nothing is pending: the copy takes over."};
        case Kind::next_round:
            return {balloon, balloon, "next round", "What was written meanwhile is worth another round."};
        case Kind::finish:
            return {balloon, balloon, "finish", "The rest can be sent within the downtime."};
        case Kind::close:
            return {balloon, guest, "STOP", "Hinting is stopped."};
        case Kind::batch:
            return {balloon, balloon, "batch", "Enough hints are collected for one batch of discards."};
        case Kind::round_over:
            return {balloon, balloon, "round over", "The hint round is over: the last batch of discards."};
        case Kind::freeze:
            return {balloon, guest, "hold",
                    setting_.fault == Fault::discard_in_flight ? "The vCPUs are held, but the disk's I/O goes on."
                                                               : "vCPUs and devices are held."};
        case Kind::discard:
            return {balloon, guest, "discard",
                    fmt::format("The monitor discards what passed: {}.", names(before.sweep.hinted)), true};
        case Kind::resume:
            return {balloon, guest, "resume", "vCPUs and devices go on."};
        case Kind::resumed:
            return {balloon, balloon, "resumed", "The sweep learns that the guest runs again."};
        case Kind::publish_done:
            return {balloon, guest, "DONE", "The monitor publishes DONE."};
        }
        return {};
    }

    std::string end(const State& last, Verdict verdict) const {
        switch (verdict) {
        case Verdict::safe:
            return "Nothing is lost.";
        case Verdict::lost: {
            if (!last.behind.empty())
                return fmt::format("The copy goes on without the newest data of {}: a write is lost.",
                                   names(last.behind));
            const SmallPages left_out =
                setting_.use == Use::skip_by_hint ? last.ever_hinted : last.precopy.layers.hinted;
            return fmt::format("{} {} left out of the copy, and it holds live data: a write is lost.",
                               names({static_cast<std::uint8_t>(left_out.bits & last.data.bits)}), "is");
        }
        case Verdict::destroyed:
            return "The running guest's live data reads as zero now. Nothing warns of it.";
        case Verdict::incomplete:
            return fmt::format("{} was hinted and accepted, and nobody has written it since: still it {}.",
                               names(last.owed),
                               setting_.use == Use::discard_held ? "was not discarded" : "is part of the copy");
        case Verdict::id_reused:
            return "Two rounds have the same command ID: a buffer of the first passes for one of the second.";
        default:
            return "Nothing can go on.";
        }
    }

private:
    static std::string names(SmallPages pages) {
        std::string out;
        for (unsigned page = 0; page < SmallPages::capacity; ++page)
            if (pages.has(page))
                out += fmt::format("{}{}", out.empty() ? "" : ", ", static_cast<char>('A' + page));
        return out.empty() ? "nothing" : out;
    }
    static std::string command(unsigned value) {
        return value == protocol::command_stop   ? "STOP"
               : value == protocol::command_done ? "DONE"
                                                 : fmt::format("ID {}", value);
    }
    [[nodiscard]] bool has_kvm_log() const {
        return setting_.use != Use::discard_at_once && setting_.use != Use::discard_locked &&
               setting_.use != Use::skip_by_hint;
    }
    [[nodiscard]] Party notices_writes() const {
        return setting_.use == Use::discard_locked ? balloon : has_kvm_log() ? log : guest;
    }
    [[nodiscard]] std::string trace_of_write(const State& before, unsigned page) const {
        if (setting_.use == Use::discard_locked)
            return before.guarded.has(page) ? "The write faults, and the page is recorded."
                                            : "The page is not write-protected: nobody notices.";
        if (!has_kvm_log())
            return "";
        return before.dirty.has(page)
                   ? "It is in KVM's log already and not write-protected: this write leaves no new trace."
                   : "KVM logs the write.";
    }

    [[nodiscard]] StoryStep take(const State& before, char name, unsigned page) const {
        bool unread = false;
        for (unsigned at = 0; at < before.queued; ++at)
            unread = unread || (before.queue[at].kind == Chain::Kind::hint && before.queue[at].value == page);
        const std::string how =
            !before.held.has(page) ? fmt::format("Free page {} gets an owner, who writes to it.", name)
            : unread ? fmt::format("Under memory pressure the driver's shrinker takes {} back, although the host has "
                                   "not read its hint yet. The new owner writes to it.",
                                   name)
                     : fmt::format("The shrinker takes {} back; its new owner writes to it.", name);
        return {guest, notices_writes(), fmt::format("write {}", name),
                fmt::format("{} {}", how, trace_of_write(before, page)), unread};
    }

    [[nodiscard]] StoryStep begin(const State& before, const State& after) const {
        if (setting_.driver == Driver::linux_stock)
            return {
                guest, guest, fmt::format("word: {}", command(after.word)),
                fmt::format(
                    "The driver begins a round: it reads the command ID again, {}, and stores it in the one word that "
                    "all its start markers point at.",
                    command(after.word))};
        if (before.queued == setting_.queue)
            return {guest, queue, "start marker lost",
                    "The driver begins to hint, but its start marker finds the ring full and is lost."};
        return {guest, queue, fmt::format("start, {}", command(after.active)),
                fmt::format("The driver queues its start marker for {}.", command(after.active))};
    }

    [[nodiscard]] StoryStep pop(const State& before, const State& after) const {
        const Chain& chain = before.queue[0];
        const bool stale = before.tracker.stale_chains > 0;
        if (chain.kind != Chain::Kind::hint) {
            const unsigned value = chain.kind == Chain::Kind::shared_marker ? before.word : chain.value;
            const char* meaning = stale ? "it was queued before the ID was published, so it is stale"
                                  : value <= protocol::command_done ? "hints after it do not count"
                                  : after.tracker.phase == protocol::HintTracker::Phase::started
                                      ? "that is the current one, so hints after it count"
                                      : "that is not the current one";
            return {queue, balloon, fmt::format("marker {}", command(value)),
                    fmt::format("The balloon reads a marker, which says {}: {}.", command(value), meaning)};
        }
        return pop_hint(before, after, chain.value, stale);
    }

    [[nodiscard]] StoryStep pop_hint(const State& before, const State& after, unsigned page, bool stale) const {
        const char name = static_cast<char>('A' + page);
        const bool discards = setting_.use == Use::discard_at_once;
        StoryStep told{queue, balloon, fmt::format("hint {}{}", name, discards ? ": discard" : ""), "", true};
        const bool sound = setting_.fault == Fault::none;
        if (stale)
            told.text = fmt::format(
                "The balloon reads the hint for {}: queued before the ID was published, so it is stale and dropped.",
                name);
        else if (sound && before.tracker.phase != protocol::HintTracker::Phase::started)
            told.text =
                fmt::format("The balloon reads the hint for {}: no current ID precedes it, so it is dropped.", name);
        else
            told.text =
                fmt::format("The balloon reads the hint for {}. {}", name, meaning_of_hint(before, after, page, name));
        return told;
    }

    [[nodiscard]] std::string meaning_of_hint(const State& before, const State& after, unsigned page, char name) const {
        switch (setting_.use) {
        case Use::clear_pending:
        case Use::skip_unwritten:
            if (setting_.fault == Fault::late_hints)
                return "It is accepted, and put aside.";
            return fmt::format("{}{} is erased from what this round has to send{}.",
                               setting_.log == Log::lazy_clear ? "KVM's log is cleared for the chunk around it, and "
                                                               : "",
                               name, setting_.fault == Fault::hint_clears_log ? " and from the monitor's own log" : "");
        case Use::clear_live:
            return fmt::format(
                "{} is erased from what has to be sent and from the live log, the newest write included.", name);
        case Use::discard_at_once:
            return fmt::format("The monitor discards {} at once.", name);
        case Use::discard_checked:
            return after.decided.has(page)
                       ? fmt::format("The log has no write to {}, so the monitor decides to discard it.", name)
                       : fmt::format("The log has a write to {}, so it stays.", name);
        case Use::discard_held:
            return fmt::format("{} is collected for the next batch.", name);
        case Use::discard_locked:
            return before.written.has(page)
                       ? fmt::format("{} was written since the ID, so it stays.", name)
                       : fmt::format(
                             "No write to {} is recorded since the ID, so the monitor discards it under the lock.",
                             name);
        case Use::skip_by_hint:
            return fmt::format("{} will be left out of the snapshot.", name);
        }
        return "";
    }

    [[nodiscard]] StoryStep read_log() const {
        switch (setting_.log) {
        case Log::eager:
            return {log, balloon, "get and clear",
                    "KVM_GET_DIRTY_LOG reads the log, clears it and write-protects all of it again in one call. The "
                    "harvest moves it into this round's set."};
        case Log::lazy_clear:
            return {
                log, balloon, "get, not cleared",
                "KVM_GET_DIRTY_LOG copies the log into this round's set. Nothing is cleared or write-protected yet.",
                true};
        case Log::clear_first:
            return {log, balloon, "get", "KVM_GET_DIRTY_LOG copies the log."};
        case Log::ring:
            return {log, balloon, "collect rings", "The dirty rings are collected."};
        }
        return {};
    }

    [[nodiscard]] StoryStep publish(const State& before, const State& after) const {
        if (after.published == before.published)
            return {balloon, balloon, "no more rounds", "No further hint round is begun."};
        std::string text = fmt::format("The monitor publishes {}", command(after.tracker.issued.value));
        if (after.tracker.stale_chains > 0)
            text += fmt::format("; the {} chains in the queue count as stale from here", after.tracker.stale_chains);
        if (setting_.use == Use::discard_locked)
            text = "Guest memory is write-protected with userfaultfd. " + text;
        return {balloon, guest, fmt::format("publish {}", command(after.tracker.issued.value)), text + "."};
    }

    [[nodiscard]] StoryStep send(const State& before, const State& after) const {
        const SmallPages sent{
            static_cast<std::uint8_t>(before.precopy.layers.pending.bits & ~after.precopy.layers.pending.bits)};
        const char* first_cleared = setting_.log == Log::lazy_clear && !before.got.empty()
                                        ? "KVM's log is cleared for the whole chunk, then "
                                        : "";
        return {balloon, copy, fmt::format("send {}", names(sent)),
                fmt::format("{}{} is read and sent.", first_cleared, names(sent)), *first_cleared != '\0'};
    }

    HintSetting setting_;
};

} // namespace

std::optional<Story> tell_hints(const HintSetting& setting, const Trace& trace) {
    const HintModel model(setting);
    const StoryWriter writer(setting);
    Story story;
    story.parties = {"guest", "hint queue", "monitor", "KVM's log", "copy"};
    State last = model.initial();
    const auto verdict = replay(model, trace, [&](const State& before, Action action, const State& after) {
        story.steps.push_back(writer.step(before, action, after));
        last = after;
    });
    if (!verdict)
        return std::nullopt;
    story.end = writer.end(last, *verdict);
    unsigned parties = 0;
    for (const StoryStep& step : story.steps)
        parties = std::max({parties, step.from + 1, step.to + 1});
    story.parties.resize(parties);
    return story;
}

} // namespace aerate::prove
