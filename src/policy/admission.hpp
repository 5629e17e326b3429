// Whether one more VM fits on the host: at a start, a resume or an arrival.
#pragma once

#include "policy/law.hpp"

#include <string>

namespace aerate::policy {

struct Candidate {
    ByteCount size{};
    ByteCount floor{};
    std::optional<ByteCount> need{}; ///< known from before; nothing: half of the size is assumed
};

enum class Refusal : std::uint8_t {
    floors, ///< what is promised to all of them is more than there is
    need,   ///< the guests that there are use it, and could not give enough
};

struct Admission {
    std::optional<Refusal> refused{}; ///< nothing: it fits
    ByteCount missing{};
    ByteCount floors{};   ///< of all guests and the candidate
    ByteCount need{};     ///< of the candidate
    ByteCount above{};    ///< available, above the reserve
    ByteCount freeable{}; ///< what the guests could give beside
};

/// Returns what the guests could give if all of them were asked, in as many ticks as it takes.
[[nodiscard]] ByteCount freeable(const State&, const Inputs&);
/// `reserved` is for others that have been admitted and are not there so far.
[[nodiscard]] Admission admit(const State&, const Inputs&, const Candidate&, ByteCount reserved);
/// Returns the answer for people, with its numbers and what would fit.
[[nodiscard]] std::string words(const Admission&);

} // namespace aerate::policy
