#include "snapshot/digest.hpp"

#include "base/regular_file.hpp"

#include <cstring>

// The low-level functions, deprecated in favour of EVP, because EVP would link all of OpenSSL's providers in.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/crypto.h>
#include <openssl/sha.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace aerate::snapshot {
namespace {

constexpr std::size_t sha256_block = 64;

Digest sha256(std::span<const std::byte> first, std::span<const std::byte> second) {
    SHA256_CTX context;
    SHA256_Init(&context);
    SHA256_Update(&context, first.data(), first.size());
    SHA256_Update(&context, second.data(), second.size());
    Digest digest;
    SHA256_Final(reinterpret_cast<unsigned char*>(digest.data()), &context);
    return digest;
}

Digest xxh3(std::span<const std::byte> bytes) {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
    Digest digest{};
    std::memcpy(digest.data(), &canonical, sizeof(canonical));
    return digest;
}

} // namespace

Digest digest_of(DigestKind kind, std::span<const std::byte> bytes) {
    return kind == DigestKind::sha256 ? sha256(bytes, {}) : xxh3(bytes);
}

Result<> check_kind(std::uint32_t kind, const std::optional<Key>& key) {
    if (kind == static_cast<std::uint32_t>(DigestKind::sha256) && !key)
        return fail("it was written with a key: give the same key to open it");
    if (kind == static_cast<std::uint32_t>(DigestKind::xxh3) && key)
        return fail("it was written without a key, so the key cannot vouch for it");
    if (kind != static_cast<std::uint32_t>(kind_of(key)))
        return fail("it has digests of kind {}, which this program does not know", kind);
    return {};
}

Digest seal_of(std::span<const std::byte> bytes, const std::optional<Key>& key) {
    return key ? key->hmac_sha256(bytes) : digest_of(DigestKind::xxh3, bytes);
}

bool equal(const Digest& a, const Digest& b) {
    return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Result<Key> Key::load(const std::string& path) {
    Key key;
    auto read = read_secret(path, key.secret_);
    if (!read)
        return fail_because(std::move(read).error(), "cannot use the snapshot key {}", path);
    return key;
}

Key::Key(std::span<const std::byte, 32> secret) {
    std::memcpy(secret_.data(), secret.data(), secret.size());
}

Key::~Key() {
    OPENSSL_cleanse(secret_.data(), secret_.size());
}

// RFC 2104: H(K xor opad, H(K xor ipad, text)).
Digest Key::hmac_sha256(std::span<const std::byte> text) const {
    const auto padded = [this](std::byte pad) {
        std::array<std::byte, sha256_block> block;
        block.fill(pad);
        for (std::size_t i = 0; i < secret_.size(); ++i)
            block[i] ^= secret_[i];
        return block;
    };
    auto block = padded(std::byte{0x36});
    const Digest inner = sha256(block, text);
    block = padded(std::byte{0x5c});
    const Digest outer = sha256(block, inner);
    OPENSSL_cleanse(block.data(), block.size());
    return outer;
}

} // namespace aerate::snapshot
