// Guest memory whose content is in a file.
#pragma once

#include "base/units.hpp"
#include "memory/guest_address.hpp"

namespace aerate {

struct FilePiece {
    PageRange pages;
    int fd = -1;
    ByteCount offset{}; ///< of the first page in the file; a multiple of the page size
    auto operator<=>(const FilePiece&) const = default;
};

} // namespace aerate
