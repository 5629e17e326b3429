// What the bytes of a snapshot are checked against.
//
//               digests     seal of the header   guards against              speed (one core, 2026)
//     no key    XXH3-128    XXH3-128             accidents                   12 GB/s
//     a key     SHA-256     HMAC-SHA-256         whoever can write the file  1.6 GB/s with SHA-NI
//
// The seal covers the digest of the manifest, and the manifest holds the digests of memory, so a key covers all of it.
// Why not SHA-256 always: it costs more than writing the page does (BLAKE2b: 0.9 GB/s).
#pragma once

#include "base/error.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace aerate::snapshot {

enum class DigestKind : std::uint32_t { xxh3 = 1, sha256 = 2 };

/// XXH3-128 fills the first half and leaves the rest zero.
using Digest = std::array<std::byte, 32>;

class Key {
public:
    /// Loads a regular file of exactly 32 bytes.
    [[nodiscard]] static Result<Key> load(const std::string& path);
    explicit Key(std::span<const std::byte, 32> secret);
    Key(const Key&) = default;
    Key& operator=(const Key&) = default;
    ~Key();

    [[nodiscard]] Digest hmac_sha256(std::span<const std::byte>) const;

private:
    Key() = default;
    std::array<std::byte, 32> secret_{};
};

[[nodiscard]] Digest digest_of(DigestKind, std::span<const std::byte>);
/// Returns the kind that is written with this key, or with none.
[[nodiscard]] constexpr DigestKind kind_of(const std::optional<Key>& key) {
    return key ? DigestKind::sha256 : DigestKind::xxh3;
}
/// Fails unless a file that says it has digests of this kind was written with such a key.
[[nodiscard]] Result<> check_kind(std::uint32_t kind, const std::optional<Key>&);
[[nodiscard]] Digest seal_of(std::span<const std::byte>, const std::optional<Key>&);
/// Compares in the same time wherever they differ.
[[nodiscard]] bool equal(const Digest&, const Digest&);

} // namespace aerate::snapshot
