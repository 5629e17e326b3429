// All that the balloon and the users of its free page hints know of each other.
#pragma once

#include "memory/guest_address.hpp"

#include <cstdint>

namespace aerate {

/// Numbers one round of free page hinting. 0 is STOP and 1 is DONE on the wire; neither is ever an ID.
struct CommandId {
    std::uint32_t value{};
    auto operator<=>(const CommandId&) const = default;
};

enum class RoundEnd : std::uint8_t {
    guest_stopped, ///< it has no more
    cut,           ///< by the host: time or budget was up, or the guest reset the device
    unanswered,    ///< by the host: the guest did not begin in time
};

/// Receives hints of the current command ID, on the balloon's thread. A hint says only that the range was free at some
/// moment after the ID was published, so there is deliberately nothing here to discard with.
class HintSink {
public:
    virtual void hinted(PageRange) = 0;
    /// Ends a round. May never be called.
    virtual void round_ended(RoundEnd) {}

protected:
    ~HintSink() = default;
};

/// A source of hints, which asks the guest for them. Calls come on the balloon's thread.
class HintSource {
public:
    /// Publishes a fresh command ID; what is in the queue already is stale. REQUIRES: `sink` outlives the round.
    virtual CommandId start(HintSink& sink) = 0;
    /// Stops hinting: no hint reaches the sink after this returns; the guest keeps the pages that it has hinted.
    virtual void stop() = 0;
    /// Does the same, and the guest takes its pages back.
    virtual void done() = 0;

protected:
    ~HintSource() = default;
};

} // namespace aerate
