// A trace told: who does what, in words that a kernel engineer can check, with the party that each step starts and ends
// at, for the diagram.
#pragma once

#include "prove/catalogue.hpp"

#include <optional>
#include <string>
#include <vector>

namespace aerate::prove {

struct StoryStep {
    unsigned from = 0;     ///< a party
    unsigned to = 0;       ///< the same: something that happens there
    std::string label;     ///< a few words
    std::string text;      ///< a sentence or two
    bool decisive = false; ///< what makes the difference
};

struct Story {
    std::string title;
    std::vector<std::string> parties;
    std::vector<StoryStep> steps;
    std::string end;
};

/// Returns nothing when the trace is not one of the model.
std::optional<Story> tell(const Entry&, const Trace&);

/// Returns "  1. ..." lines, wrapped.
std::string in_words(const Story&);

} // namespace aerate::prove
