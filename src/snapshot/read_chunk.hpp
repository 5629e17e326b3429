// Reading a chunk of memory as it was written, or not at all.
#pragma once

#include "base/error.hpp"
#include "snapshot/memory_area.hpp"

#include <cstddef>
#include <span>

namespace aerate::snapshot {

/// Reads the chunk's data, each page to its place in `into`, and compares what was read with the chunk's digest: what
/// the file holds a moment later does not matter. Pages without data are left as they are.
[[nodiscard]] Result<> read_chunk(int fd, ByteCount memory_at, DigestKind, const Chunk&,
                                  std::span<std::byte, chunk_size.value> into);

} // namespace aerate::snapshot
