// A story as a sequence diagram.
#pragma once

#include "prove/story.hpp"

#include <string>

namespace aerate::prove {

/// Returns a whole SVG document.
std::string as_svg(const Story&);

} // namespace aerate::prove
