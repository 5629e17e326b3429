// What happened, action by action, and what came of it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace aerate::prove {

/// One step of one party. `kind` is an enumerator of the model's own.
struct Action {
    std::uint8_t kind = 0;
    std::uint8_t page = 0;
    bool operator==(const Action&) const = default;
};

using Trace = std::vector<Action>;

/// What is possible in one state.
class Actions {
public:
    void add(Action action) { items_.at(count_++) = action; }
    [[nodiscard]] bool empty() const { return count_ == 0; }
    [[nodiscard]] bool contains(Action action) const { return std::find(begin(), end(), action) != end(); }
    [[nodiscard]] const Action* begin() const { return items_.data(); }
    [[nodiscard]] const Action* end() const { return items_.data() + count_; }

private:
    std::array<Action, 96> items_;
    std::size_t count_ = 0;
};

enum class Verdict : std::uint8_t {
    safe,
    lost,             ///< the copy lacks what the guest wrote
    destroyed,        ///< the running guest's own memory lost what it wrote
    id_reused,        ///< a command ID was issued twice
    two_running,      ///< both sides run the guest
    none_running,     ///< neither side does, and nothing will change that
    stuck,            ///< nothing can go on
    moves_at_rest,    ///< somebody was told that the guest rests, and it does not
    held_for_nothing, ///< a device or a vCPU is stopped, and nobody who could use that is told
    incomplete,       ///< a hint was accepted, its page not written since, and it was not left out or discarded
};

constexpr std::string_view name_of(Verdict verdict) {
    switch (verdict) {
    case Verdict::safe:
        return "safe";
    case Verdict::lost:
        return "write lost";
    case Verdict::destroyed:
        return "live data destroyed";
    case Verdict::id_reused:
        return "ID reused";
    case Verdict::two_running:
        return "two copies run";
    case Verdict::none_running:
        return "no copy runs";
    case Verdict::stuck:
        return "stuck";
    case Verdict::moves_at_rest:
        return "moves at rest";
    case Verdict::held_for_nothing:
        return "held for nothing";
    case Verdict::incomplete:
        return "incomplete";
    }
    return "";
}

} // namespace aerate::prove
