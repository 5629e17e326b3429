// Filling fresh guest memory with the content of files: see GuestMemory::restore().
#pragma once

#include "base/error.hpp"
#include "memory/file_backing.hpp"
#include "memory/guest_memory.hpp"

#include <span>

namespace aerate {

/// REQUIRES: nothing of the memory has been touched.
[[nodiscard]] Result<> restore_pieces(std::span<const MappedRegion>, Backing, std::span<const FilePiece>, FileBacking&);

} // namespace aerate
