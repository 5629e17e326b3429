// Where the guest's pages went, as far as the guest told. A page is in at most one of the two sets.
#pragma once

#include "memory/page_bitmap.hpp"

namespace aerate::balloon {

struct PageStates {
    /// Fails when the host refuses the memory.
    [[nodiscard]] static Result<PageStates> create(PageCount address_space) {
        return PageStates{.ballooned = TRY(PageBitmap::create(address_space)),
                          .reported = TRY(PageBitmap::create(address_space))};
    }

    PageBitmap ballooned; ///< inflated and not deflated since
    /// Reported free since the guest last reset the device. A guest takes a reported page back by touching it and tells
    /// nobody, so this says "was given back once", not "is absent now".
    PageBitmap reported;
};

} // namespace aerate::balloon
