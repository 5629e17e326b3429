#include "base/testing/other_user.hpp"
#include "base/testing/temporary_directory.hpp"
#include "snapshot/digest.hpp"
#include "snapshot/testing/sample.hpp"

#include <gtest/gtest.h>

#include <sys/stat.h>

#include <fstream>

namespace aerate::snapshot {
namespace {

std::span<const std::byte> text(std::string_view characters) {
    return std::as_bytes(std::span(characters));
}

std::string hex(const Digest& digest) {
    std::string printed;
    for (const std::byte byte : digest)
        printed += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
    return printed;
}

TEST(Digest, IsWhatOthersCompute) {
    EXPECT_EQ(hex(digest_of(DigestKind::sha256, text("abc"))),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"); // FIPS 180-2
    EXPECT_EQ(hex(digest_of(DigestKind::xxh3, text(""))),
              "99aa06d3014798d86001c324468d497f00000000000000000000000000000000"); // xxhsum -H128 </dev/null
}

// RFC 4231, test case 2, with the key padded by zeros to 32 bytes, which HMAC does too.
TEST(Digest, HmacIsThatOfTheRfc) {
    std::array<std::byte, 32> secret{};
    std::ranges::copy(text("Jefe"), secret.begin());
    EXPECT_EQ(hex(Key(secret).hmac_sha256(text("what do ya want for nothing?"))),
              "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(Digest, AKeyIsAFileOf32Bytes) {
    const TemporaryDirectory directory;
    const auto write = [&](std::size_t size) {
        std::ofstream(directory / "key") << std::string(size, 'k');
        EXPECT_EQ(::chmod((directory / "key").c_str(), 0600), 0);
        return Key::load(directory / "key");
    };
    const auto key = write(32);
    ASSERT_TRUE(key) << key.error().message;
    std::array<std::byte, 32> secret{};
    secret.fill(std::byte{'k'});
    EXPECT_EQ(key->hmac_sha256(text("x")), Key(secret).hmac_sha256(text("x")));
    for (const std::size_t wrong : {0U, 31U, 33U})
        EXPECT_FALSE(write(wrong)) << wrong;
    EXPECT_FALSE(Key::load(directory.path()));
    EXPECT_FALSE(Key::load(directory / "absent"));
}

TEST(Digest, S8_AKeyThatOthersCanReadOrReplaceIsRefused) {
    const TemporaryDirectory directory;
    const std::string path = directory / "key";
    std::ofstream(path) << std::string(32, 'k');
    for (const mode_t mode : {0640U, 0660U, 0620U, 0610U, 0604U, 0602U, 0644U}) {
        ASSERT_EQ(::chmod(path.c_str(), mode), 0);
        const auto refused = Key::load(path);
        ASSERT_FALSE(refused) << std::oct << mode;
        EXPECT_NE(refused.error().message.find("chmod 600 " + path), std::string::npos) << refused.error().message;
    }
    for (const mode_t mode : {0600U, 0400U}) {
        ASSERT_EQ(::chmod(path.c_str(), mode), 0);
        EXPECT_TRUE(Key::load(path)) << std::oct << mode;
    }
    AERATE_NEEDS_ANOTHER_USER();
    ASSERT_EQ(::chown(path.c_str(), other_user, 0), 0);
    EXPECT_FALSE(Key::load(path));
}

} // namespace
} // namespace aerate::snapshot
