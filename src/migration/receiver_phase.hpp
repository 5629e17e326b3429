// Which frames may come when, at the destination. Whatever is not in the table ends the migration.
#pragma once

#include "migration/wire/frame.hpp"

#include <cstdint>
#include <initializer_list>

namespace aerate::migration {

enum class ReceiverPhase : std::uint8_t {
    greeted,  ///< waits for hello
    prepared, ///< has memory, waits for the first round
    round,
    last_round,
    state,     ///< has had `unneeded` or a piece of state: no more pages
    summed_up, ///< has had all of both, and knows its memory's sum
    ready,     ///< waits for go
};

[[nodiscard]] constexpr bool may_come(FrameKind kind, ReceiverPhase phase) {
    using enum FrameKind;
    const auto one_of = [kind](std::initializer_list<FrameKind> kinds) {
        for (const FrameKind allowed : kinds)
            if (kind == allowed)
                return true;
        return false;
    };
    switch (phase) {
    case ReceiverPhase::greeted:
        return one_of({hello, error});
    case ReceiverPhase::prepared:
        return one_of({round, attachment, alive, error});
    case ReceiverPhase::round:
        return one_of({pages, deltas, round, alive, error});
    case ReceiverPhase::last_round:
        return one_of({pages, deltas, unneeded, state, sum_up, state_end, alive, error});
    case ReceiverPhase::state:
        return one_of({unneeded, state, sum_up, state_end, alive, error});
    case ReceiverPhase::summed_up:
        return one_of({state_end, alive, error});
    case ReceiverPhase::ready:
        return one_of({go, error});
    }
    return false;
}

} // namespace aerate::migration
