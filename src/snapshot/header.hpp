// The first page of a snapshot file. With it the whole of the file is known to be there and to be what was written.
//
//     0                4096                         4096 + memory
//     | header         | memory area, with holes    | manifest |          the file ends where the header says
//
//     header: magic 8 | version 4 | architecture 4 | kind of digest 4 | 0 4 | length of memory 8 | of manifest 8 |
//             digest of manifest 32 | 0 ... | seal 32        little-endian; the seal covers all before it
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"
#include "snapshot/digest.hpp"

#include <array>
#include <cstddef>
#include <optional>
#include <span>

namespace aerate::snapshot {

struct Header {
    static constexpr ByteCount size{4096};

    DigestKind kind = DigestKind::xxh3;
    ByteCount memory_length{};
    ByteCount manifest_length{};
    Digest manifest_digest{};

    [[nodiscard]] ByteCount manifest_offset() const { return size + memory_length; }
    [[nodiscard]] ByteCount file_length() const { return manifest_offset() + manifest_length; }
};

[[nodiscard]] std::array<std::byte, Header::size.value> encode(const Header&, const std::optional<Key>&);
/// Looks at nothing but what says how to check the seal before that has held. Lengths are in bounds afterwards.
[[nodiscard]] Result<Header> decode_header(std::span<const std::byte, Header::size.value>, const std::optional<Key>&);

} // namespace aerate::snapshot
