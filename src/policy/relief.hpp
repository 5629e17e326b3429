// What a guest that suffers from its balloon gets back. The law decides by it, and so does a monitor by itself.
#pragma once

#include "policy/inputs.hpp"

namespace aerate::policy {

/// A balloon that is smaller is not worth having, and a target that is nearer counts as reached.
inline constexpr ByteCount trifle{16 * mib};

/// Returns what a guest in distress gets back, so that it has one and a half of what is kept for it: a quarter of its
/// balloon at least, half of it when nobody knows what it has.
[[nodiscard]] ByteCount relief(const Guest&, ByteCount kept);

/// Returns the balloon as it stands: a target that has not been reached is none that could be lowered.
[[nodiscard]] inline ByteCount standing(const Guest& guest) {
    return std::min(guest.target, guest.actual);
}
/// Returns the target that gives the guest so much, counted from what its balloon has.
[[nodiscard]] ByteCount target_after_giving(const Guest&, ByteCount amount);

/// Returns the target that a monitor sets by itself when the guest has taken pages back. It has not watched the guest's
/// habits, so it keeps the least that is kept for any.
[[nodiscard]] ByteCount target_after_taking_back(const Guest&);

} // namespace aerate::policy
