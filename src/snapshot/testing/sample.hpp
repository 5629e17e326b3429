// Small snapshots, and a directory to keep them in.
#pragma once

#include "base/check.hpp"
#include "base/testing/temporary_directory.hpp"
#include "snapshot/snapshot.hpp"
#include "snapshot/writer.hpp"

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

namespace aerate::snapshot::testing {

using Bytes = std::vector<std::byte>;

inline Key sample_key(unsigned char first = 1) {
    std::array<std::byte, 32> secret{};
    secret[0] = std::byte{first};
    return Key(secret);
}

/// Pages with content that depends on the seed and on the place.
inline Bytes pages(std::size_t count, unsigned seed) {
    Bytes bytes(count * page_size.value);
    for (std::size_t i = 0; i < bytes.size(); ++i)
        bytes[i] = static_cast<std::byte>(i * 7 + i / page_size.value * 13 + seed);
    return bytes;
}

inline const std::vector<MemoryRegion>& sample_regions() {
    static const std::vector<MemoryRegion> regions{{{0}, {2U << 20}}};
    return regions;
}

inline const std::string sample_config = R"({"machine-config":{"mem_size_mib":2}})";

inline Bytes sample_state() {
    return Bytes(100, std::byte{0x77});
}

/// 2 MiB of RAM, three pages of it with data. Two chunks.
inline Result<Digest> write_sample(const std::string& path, const std::optional<Key>& key = {},
                                   Existing existing = Existing::refuse,
                                   FileOperations& operations = FileOperations::real(), unsigned seed = 1) {
    auto writer =
        TRY(Writer::create({.path = path, .regions = sample_regions(), .existing = existing, .key = key}, operations));
    TRY(writer.add({{3}, {2}}, pages(2, seed)));
    TRY(writer.add({{400}, {1}}, pages(1, seed + 1)));
    return std::move(writer).finish(sample_config, sample_state());
}

/// All memory as its pieces have it, up to the end of the last region.
inline Bytes image_of(const Snapshot& snapshot, std::size_t most = Snapshot::pieces_max) {
    const MemoryRegion& last = snapshot.regions().back();
    Bytes image(last.start.value + last.length.value);
    for (const FilePiece& piece : snapshot.pieces(most)) {
        const auto length = bytes_of(piece.pages.count).value;
        CHECK(::pread(piece.fd, image.data() + address_of(piece.pages.first).value, length,
                      static_cast<off_t>(piece.offset.value)) == static_cast<ssize_t>(length));
    }
    return image;
}

} // namespace aerate::snapshot::testing
