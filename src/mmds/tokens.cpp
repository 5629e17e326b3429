#include "mmds/tokens.hpp"

#include "base/check.hpp"
#include "base/endian.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <sys/random.h>

#include <cstdint>
#include <span>

namespace aerate::mmds {
namespace {

// A token's bytes: when it ends, what no other has, and the code of both. Base64 makes 64 characters of them.
constexpr std::size_t end_size = 8;
constexpr std::size_t nonce_size = 8;
constexpr std::size_t claim_size = end_size + nonce_size;
constexpr std::size_t code_size = 32;
using Bytes = std::array<unsigned char, claim_size + code_size>;
static_assert(sizeof(Bytes) * 4 / 3 == Tokens::length && sizeof(Bytes) % 3 == 0);

/// Up to 256 bytes are never cut short (getrandom(2)).
bool fill_with_randomness(std::span<unsigned char> bytes) {
    return ::getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size());
}

std::int64_t nanoseconds(Tokens::Time time) {
    return std::chrono::nanoseconds(time.time_since_epoch()).count();
}

void write_code(std::span<const unsigned char> key, std::span<const unsigned char, claim_size> claim,
                std::span<unsigned char, code_size> code) {
    unsigned size = 0;
    CHECK(::HMAC(::EVP_sha256(), key.data(), static_cast<int>(key.size()), claim.data(), claim.size(), code.data(),
                 &size) != nullptr &&
          size == code.size());
}

} // namespace

Result<Tokens> Tokens::create() {
    Key key{};
    if (!fill_with_randomness(key))
        return fail_errno("cannot have a random key for the metadata service's tokens");
    return Tokens(key);
}

Result<std::string> Tokens::make(std::chrono::seconds life, Time now) const {
    CHECK(life >= life_min && life <= life_max);
    Bytes bytes{};
    const std::span all(bytes);
    store_little_endian(std::as_writable_bytes(all), static_cast<std::uint64_t>(nanoseconds(now + life)));
    if (!fill_with_randomness(all.subspan<end_size, nonce_size>()))
        return fail_errno("cannot have randomness for a token of the metadata service");
    write_code(key_, all.first<claim_size>(), all.last<code_size>());
    std::array<unsigned char, length + 1> text{}; // with EVP's final zero
    CHECK(::EVP_EncodeBlock(text.data(), bytes.data(), bytes.size()) == static_cast<int>(length));
    return std::string(text.begin(), text.begin() + length);
}

bool Tokens::valid(std::string_view token, Time now) const {
    Bytes bytes{};
    if (token.size() != length || token.contains('=') ||
        ::EVP_DecodeBlock(bytes.data(), reinterpret_cast<const unsigned char*>(token.data()), length) !=
            static_cast<int>(bytes.size()))
        return false;
    const std::span all(bytes);
    std::array<unsigned char, code_size> code{};
    write_code(key_, all.first<claim_size>(), code);
    return ::CRYPTO_memcmp(code.data(), all.last<code_size>().data(), code_size) == 0 &&
           nanoseconds(now) < static_cast<std::int64_t>(load_little_endian<std::uint64_t>(std::as_bytes(all)));
}

} // namespace aerate::mmds
