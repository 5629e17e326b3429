#include "boot/payload.hpp"
#include "boot/testing/pack.hpp"

#include <gmock/gmock.h>

#include <random>

namespace aerate {
namespace {

using ::testing::AnyOf;
using testing::Bytes;
using ::testing::HasSubstr;

struct Packer {
    const char* name;
    Bytes (*pack)(const Bytes&);
};

class Payload : public ::testing::TestWithParam<Packer> {
protected:
    static Bytes plain() {
        Bytes bytes(20000);
        std::mt19937 random(7);
        for (std::size_t i = 0; i < bytes.size(); ++i)
            bytes[i] = static_cast<std::byte>(i % 3 != 0 ? i / 64 : random());
        return bytes;
    }
};

TEST_P(Payload, UnpacksToWhatWasPacked) {
    const auto unpacked = unpack_payload(GetParam().pack(plain()));
    ASSERT_TRUE(unpacked) << unpacked.error().message;
    EXPECT_TRUE(std::ranges::equal(unpacked->view(), plain()));
}

TEST_P(Payload, CutOffAnywhereIsAnError) {
    const auto packed = GetParam().pack(plain());
    for (std::size_t size = 0; size < packed.size(); size += size < 64 ? 1 : 37) {
        const auto unpacked = unpack_payload(std::span(packed).first(size));
        EXPECT_FALSE(unpacked) << size;
    }
}

TEST_P(Payload, SizeThatLiesIsAnError) {
    for (const std::uint32_t lie : {0U, 1U, 19999U, 20001U, 0x1fffffffU, 0x20000001U, 0xffffffffU}) {
        auto packed = GetParam().pack(plain());
        testing::put(packed, packed.size() - 4, lie);
        const auto unpacked = unpack_payload(packed);
        ASSERT_FALSE(unpacked) << lie;
        EXPECT_THAT(unpacked.error().message, AnyOf(HasSubstr("corrupt"), HasSubstr("more than any kernel")));
    }
}

TEST_P(Payload, FlippedBitsNeverDoHarm) {
    const auto packed = GetParam().pack(plain());
    std::mt19937 random(11);
    for (int i = 0; i < 500; ++i) {
        auto spoiled = packed;
        for (int flips = 0; flips < 3; ++flips)
            spoiled[random() % (spoiled.size() - 4)] ^= static_cast<std::byte>(1U << random() % 8);
        if (const auto unpacked = unpack_payload(spoiled); unpacked) {
            EXPECT_EQ(unpacked->size, 20000U);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Formats, Payload,
                         ::testing::Values(Packer{"lz4", testing::pack_lz4}, Packer{"zstd", testing::pack_zstd},
                                           Packer{"xz", testing::pack_xz}, Packer{"gzip", testing::pack_gzip}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(PayloadFormats, OthersAreNamed) {
    Bytes bzip2(64);
    testing::put_text(bzip2, 0, "BZh9");
    EXPECT_THAT(unpack_payload(bzip2).error().message, HasSubstr("bzip2"));
    const Bytes unknown(64, std::byte{0xee});
    EXPECT_THAT(unpack_payload(unknown).error().message, HasSubstr("0xeeeeeeee"));
}

// A block that says that it is larger than what is left, and one of the largest size there is.
TEST(PayloadFormats, Lz4BlockSizesAreChecked) {
    for (const std::uint32_t lie : {100U, 0x7fffffffU, 0xffffffffU}) {
        Bytes packed;
        testing::put(packed, 0, std::uint32_t{0x184c2102});
        testing::put(packed, 4, lie);
        testing::put(packed, 16, std::uint32_t{4096});
        EXPECT_FALSE(unpack_payload(packed));
    }
}

} // namespace
} // namespace aerate
