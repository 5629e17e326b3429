// What was measured, for people and for programs.
#pragma once

#include "world.hpp"

#include <string>
#include <string_view>

namespace aerate::sim {

/// A run, and what it was a run of.
struct Row {
    std::string_view mix;
    unsigned seed = 0;
    std::string_view law;
    double host = 0;     ///< MiB
    double promised = 0; ///< MiB
    std::size_t guests = 0;
    std::size_t refused = 0; ///< guests that did not fit
    Outcome outcome{};
    unsigned broken = 0; ///< invariants
};

[[nodiscard]] std::string heading();
[[nodiscard]] std::string line(const Row&);
[[nodiscard]] std::string json(const Row&);

/// Returns what the row breaks of what the law is to reach; empty if nothing, or if it is about another law. In
/// `hostile` the host's OOM kills are not counted: what guests refuse to give may be more than there is.
[[nodiscard]] std::string missed(const Row&);

} // namespace aerate::sim
