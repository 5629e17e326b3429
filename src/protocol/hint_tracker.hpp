// Free page hinting as a pure state machine: no queue, no clock, no memory. What the device, its users and the guest
// did goes in as calls; what may be believed comes out.
//
//             publish()              current ID            STOP, DONE, cut()
//     stopped ────────▶ requested ◀──────────▶ started ──────────────────────▶ stopped
//                                  another ID
//
// publish(), stop() and done() are possible in every phase. A hint counts only while the phase is `started`.
//
// Two guards keep a hint from an older round out of a newer one, each enough against an honest guest:
//   - hints belong to the last command on the queue, and count only when that was the current ID (virtio 1.2, 5.5.6.5);
//   - the chains which were available when the ID was published are stale, whatever their command buffer says: Linux
//     lets every command buffer point at one word, so an old buffer read late shows the new ID.
// The second record is taken before the guest can see the ID. A chain which comes after it was queued by a driver that
// still held the block, so that block was free at some moment after everything the host did before publish().
#pragma once

#include "base/units.hpp"
#include "memory/hints.hpp"
#include "protocol/hint_commands.hpp"

#include <cstdint>
#include <limits>
#include <optional>

namespace aerate::protocol {

struct HintTracker {
    enum class Phase : std::uint8_t {
        stopped,   ///< no hint is wanted; the guest keeps what it has hinted
        requested, ///< an ID is published, the guest has not begun
        started,   ///< the guest's hints belong to the current ID
        done,      ///< the guest may take back what it has hinted
    };
    enum class CommandVerdict : std::uint8_t { begins, ends, repeated, unknown, unexpected_stop };
    enum class HintVerdict : std::uint8_t { accepted, not_current, over_budget };

    Phase phase = Phase::stopped;
    CommandId issued{command_done}; ///< the newest ID there ever was
    std::uint32_t stale_chains = 0; ///< how many of the next chains are older than `issued`
    PageCount budget;               ///< how many more pages this round may hint
    std::optional<std::uint32_t> guest_command;

    bool operator==(const HintTracker&) const = default;

    [[nodiscard]] bool open() const { return phase == Phase::requested || phase == Phase::started; }

    /// Returns what free_page_hint_cmd_id reads. A guest that looks again in the middle of a round must not find STOP
    /// there.
    [[nodiscard]] std::uint32_t config_value() const {
        return open() ? issued.value : phase == Phase::done ? command_done : command_stop;
    }

    /// Begins a round. An ID is never issued twice: when all are used up there are no more rounds.
    [[nodiscard]] std::optional<CommandId> publish(std::uint32_t available_chains, PageCount round_budget) {
        if (issued.value == std::numeric_limits<std::uint32_t>::max()) {
            phase = Phase::stopped;
            return std::nullopt;
        }
        ++issued.value;
        phase = Phase::requested;
        stale_chains = available_chains;
        budget = round_budget;
        return issued;
    }

    /// Returns true when that ended a round.
    bool stop() {
        const bool was_open = open();
        if (was_open)
            phase = Phase::stopped;
        return was_open;
    }

    void done() { phase = Phase::done; }

    /// Forgets the round, as the device was reset. The ID stays used.
    void reset() {
        const CommandId used = issued;
        *this = {};
        issued = used;
    }

    /// Takes a popped chain. Returns false if it is older than the ID: nothing in it counts.
    [[nodiscard]] bool chain_is_current() {
        if (stale_chains == 0)
            return true;
        --stale_chains;
        return false;
    }

    /// Takes a command buffer of a current chain.
    [[nodiscard]] CommandVerdict command(std::uint32_t value) {
        guest_command = value;
        if (value == command_stop || value == command_done) {
            // A stop that comes before the start is left over from a round that the host has ended.
            if (phase != Phase::started)
                return CommandVerdict::unexpected_stop;
            phase = Phase::stopped;
            return CommandVerdict::ends;
        }
        if (!open() || value != issued.value) {
            if (phase == Phase::started)
                phase = Phase::requested;
            return CommandVerdict::unknown;
        }
        if (phase == Phase::started)
            return CommandVerdict::repeated;
        phase = Phase::started;
        return CommandVerdict::begins;
    }

    /// Takes a range of a current chain. One that is not a whole page costs as much as a page.
    [[nodiscard]] HintVerdict hint(PageCount pages) {
        if (phase != Phase::started)
            return HintVerdict::not_current;
        const PageCount cost{pages.value == 0 ? 1 : pages.value};
        if (cost > budget)
            return HintVerdict::over_budget;
        budget -= cost;
        return HintVerdict::accepted;
    }
};

} // namespace aerate::protocol
