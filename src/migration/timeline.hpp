// What a move's time went into, step after step: the source begins each, and the last one ends with the move. Bounded:
// a guest that never settles goes through a thousand rounds.
#pragma once

#include "base/check.hpp"
#include "base/units.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace aerate::migration {

struct TimelineStep {
    enum class Kind : std::uint8_t {
        connecting,   ///< the connections and the first greetings, until pages can go
        tracking,     ///< the guest's writes are logged from here on, and what holds something is found
        hinting,      ///< the guest is asked what is free
        copying,      ///< pages go out while it runs
        stopping,     ///< it is brought to rest: everything from here on is downtime
        copying_rest, ///< what it wrote until then
        saving,       ///< its devices' and processors' state, and what --verify asks for
        loading,      ///< the destination takes that in, and says that it has everything
        starting,     ///< the guest is given away, and the destination says that it runs
    };
    Kind kind{};
    unsigned round = 0; ///< of hinting and copying
    std::chrono::microseconds start{};
    std::chrono::microseconds duration{};
    ByteCount sent{}; ///< on the wire, while it lasted
    bool operator==(const TimelineStep&) const = default;
};
inline constexpr std::array<std::string_view, 9> timeline_words{
    "connecting", "tracking", "hinting", "copying", "stopping", "copying-rest", "saving", "loading", "starting"};
[[nodiscard]] constexpr std::string_view name_of(TimelineStep::Kind kind) {
    return timeline_words[static_cast<std::size_t>(kind)];
}

class Timeline {
public:
    using Kind = TimelineStep::Kind;
    /// What is left of it goes to the steps of the standstill, each of which comes once.
    static constexpr std::size_t rounds_max = 240;

    /// Ends the step under way and begins another; `at` is counted from the move's beginning and never goes back. Where
    /// there is no room for a further round, the last one goes on.
    void begin(Kind kind, unsigned round, std::chrono::microseconds at, ByteCount wire) {
        end(at, wire);
        const bool stands = kind >= Kind::stopping;
        if (!stands && steps_.size() >= rounds_max)
            return;
        steps_.push_back({.kind = kind, .round = round, .start = at});
        sent_before_ = wire;
    }
    /// Ends the step under way. It may go on: then this is called again.
    void end(std::chrono::microseconds at, ByteCount wire) {
        if (steps_.empty())
            return;
        CHECK(at >= steps_.back().start && wire >= sent_before_);
        steps_.back().duration = at - steps_.back().start;
        steps_.back().sent = {wire.value - sent_before_.value};
    }
    [[nodiscard]] const std::vector<TimelineStep>& steps() const { return steps_; }

private:
    std::vector<TimelineStep> steps_;
    ByteCount sent_before_{};
};

} // namespace aerate::migration
