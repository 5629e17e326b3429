// What holds after every tick, whatever guests say: checked by the daemon before it acts, and by the tests.
#pragma once

#include "policy/law.hpp"

#include <string_view>

namespace aerate::policy {

struct Broken {
    VmName vm{}; ///< empty: it is about all of them
    std::string_view rule;
};

/// Returns what `decisions`, which left `state` behind, break, if anything:
///   I1  a balloon takes no guest below its floor;
///   I2  a balloon goes up only on fresh statistics, and by no more than the guest has to spare above its guard;
///   I3  it does not go up in plenty, nor while the guest is held;
///   I4  in plenty no more than an eighth of the surplus a second is given back, beside what guests in distress get;
///   I5  when the host is short somebody is asked, or everybody has a reason.
[[nodiscard]] std::optional<Broken> broken_invariant(const State& state, const Inputs&, const Decisions& decisions,
                                                     milliseconds elapsed);

} // namespace aerate::policy
