// The digest of a chunk is that of its pages' digests, one after the other: a page can change without the others being
// read. Where the pages are is not in it, since the manifest says that.
#pragma once

#include "snapshot/header.hpp"
#include "snapshot/memory_area.hpp"

#include <array>
#include <span>

namespace aerate::snapshot {

/// `digests` has one for each page of the chunk; those of pages that are not in `data` do not matter.
[[nodiscard]] inline Digest digest_of_chunk(DigestKind kind, const PageSet& data,
                                            std::span<const Digest, chunk_pages> digests) {
    std::array<Digest, chunk_pages> present;
    std::size_t count = 0;
    data.all_runs([&](unsigned first, unsigned length) {
        for (unsigned page = first; page < first + length; ++page)
            present[count++] = digests[page];
        return true;
    });
    return digest_of(kind, std::as_bytes(std::span(present).first(count)));
}

/// `memory_at` is where memory begins: after the header, or at once in a file of its own.
[[nodiscard]] constexpr ByteCount offset_in_file(std::uint32_t chunk, unsigned page,
                                                 ByteCount memory_at = Header::size) {
    return memory_at + bytes_of({std::uint64_t{chunk} * chunk_pages + page});
}

} // namespace aerate::snapshot
