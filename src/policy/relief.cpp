#include "policy/relief.hpp"

#include "policy/need.hpp"

namespace aerate::policy {

ByteCount relief(const Guest& guest, ByteCount kept) {
    const Statistics* const said = fresh(guest);
    const ByteCount lack =
        said != nullptr ? excess(scaled(kept, 3, 2), said->available) : ByteCount{guest.actual.value / 2};
    return std::max(lack, ByteCount{guest.actual.value / 4});
}

ByteCount target_after_giving(const Guest& guest, ByteCount amount) {
    const ByteCount before = std::min(standing(guest), balloon_max(guest));
    const ByteCount target = rounded_down(excess(before, amount));
    return target < trifle ? ByteCount{} : target;
}

ByteCount target_after_taking_back(const Guest& guest) {
    return target_after_giving(guest, relief(guest, guard({}, guest, Level::critical)));
}

} // namespace aerate::policy
