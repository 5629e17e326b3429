// What a snapshot file holds besides memory: the machine's configuration and state, and which page is where.
//
//     regions    count 4, (start 8, length 8)...                               at most 64
//     config     length 4, text                                                at most 1 MiB
//     parent     length of name 4, name, identity 32 if there is a name
//     state      length 4, bytes                                               at most 16 MiB
//     chunks     count 4, (index 4, 0 4, data 32, zero 32, digest 32)...       little-endian throughout
//
// A set of pages is 256 bits rather than runs: its size does not depend on how fragmented a guest is, and there is
// nothing in it that could overlap or leave RAM.
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"
#include "memory/guest_memory.hpp"
#include "snapshot/digest.hpp"
#include "snapshot/memory_area.hpp"

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace aerate::snapshot {

inline constexpr ByteCount config_length_max{1U << 20};
inline constexpr ByteCount state_length_max{16U << 20};
/// Room for the two above and for the chunks of 2 TiB of data.
inline constexpr ByteCount manifest_length_max{256U << 20};
inline constexpr std::size_t regions_max = 64;

/// The snapshot that a diff is a diff of.
struct Parent {
    std::string name;  ///< a file in the same directory
    Digest identity{}; ///< the digest of its manifest
};

struct Manifest {
    std::vector<MemoryRegion> regions;
    std::string config;
    std::vector<std::byte> state;
    std::optional<Parent> parent;
    std::vector<Chunk> chunks; ///< ascending; none is empty
};

/// Returns the chunk with this index, or nullptr. REQUIRES: they ascend.
[[nodiscard]] const Chunk* find_chunk(std::span<const Chunk>, std::uint32_t index);

/// Fails when a part is longer than allowed.
[[nodiscard]] Result<std::vector<std::byte>> encode(const Manifest&);
/// Returns what encode() gives at most for such a memory, with a state of usual length.
[[nodiscard]] ByteCount longest_manifest(const MemoryArea&);
/// Decodes a manifest, of which everything that Manifest promises holds afterwards. Allocates no more than a few times
/// the bytes given.
[[nodiscard]] Result<Manifest> decode_manifest(std::span<const std::byte>);

/// Returns whether it is one component of a path, and no way out of its directory.
[[nodiscard]] bool is_file_name(std::string_view);

} // namespace aerate::snapshot
