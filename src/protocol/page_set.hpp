// What the transition functions ask of a set of guest pages. PageBitmap is one; the explorer has one of eight bits.
#pragma once

#include "memory/guest_address.hpp"

#include <concepts>

namespace aerate::protocol {

template <typename Set>
concept PageSet =
    requires(Set set, Set& other, const Set& constant, PageRange range, FrameNumber frame, PageCount limit) {
        set.set(range);
        set.clear(range);
        set.clear_all();
        set.add(constant);
        set.remove(constant);
        set.move_into(other);
        { constant.test(frame) } -> std::same_as<bool>;
        { constant.next_run(frame, limit) } -> std::same_as<PageRange>;
    };

} // namespace aerate::protocol
