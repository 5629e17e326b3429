// The first page of a snapshot file. With it the whole of the file is known to be there and to be what was written.
//
//     0                4096                         4096 + memory
//     | header         | memory area, with holes    | manifest |          the file ends where the header says
//
//     header: magic 8 | version 4 | architecture 4 | kind of digest 4 | memory 4 | length of memory 8 | of manifest 8 |
//             digest of manifest 32 | 0 ... | seal 32        little-endian; the seal covers all before it
//
// memory is 0: as above; 1: it is in a file of its own, which has nothing else, and the manifest follows the header.
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"
#include "snapshot/digest.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace aerate::snapshot {

struct Header {
    static constexpr std::uint32_t version = 1; ///< that is written, and read
    static constexpr ByteCount size{4096};

    DigestKind kind = DigestKind::xxh3;
    bool memory_beside = false; ///< in a file of its own
    ByteCount memory_length{};
    ByteCount manifest_length{};
    Digest manifest_digest{};

    [[nodiscard]] ByteCount memory_offset() const { return memory_beside ? ByteCount{} : size; }
    [[nodiscard]] ByteCount manifest_offset() const { return memory_beside ? size : size + memory_length; }
    [[nodiscard]] ByteCount file_length() const { return manifest_offset() + manifest_length; }
};

[[nodiscard]] std::array<std::byte, Header::size.value> encode(const Header&, const std::optional<Key>&);
/// Looks at nothing but what says how to check the seal before that has held. Lengths are in bounds afterwards.
[[nodiscard]] Result<Header> decode_header(std::span<const std::byte, Header::size.value>, const std::optional<Key>&);

} // namespace aerate::snapshot
