// What a manifest may not say, with a digest that is right: whoever has no key to fear can write one.
#include "base/endian.hpp"
#include "snapshot/header.hpp"
#include "snapshot/manifest.hpp"
#include "snapshot/testing/sample.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace aerate::snapshot {
namespace {

using ::testing::HasSubstr;

Manifest sample() {
    Chunk chunk{.index = 1, .data = {}, .zero = {}, .digest = {}};
    chunk.data.set(5);
    chunk.zero.set(6);
    return {.regions = testing::sample_regions(),
            .config = "config",
            .state = testing::Bytes(3),
            .parent = Parent{"parent", {}},
            .chunks = {chunk}};
}

std::string why_not(const Manifest& manifest) {
    const auto decoded = decode_manifest(encode(manifest).value());
    return decoded ? "it is right" : decoded.error().message;
}

TEST(Manifest, SurvivesItsEncoding) {
    const auto decoded = decode_manifest(encode(sample()).value());
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_EQ(decoded->config, "config");
    EXPECT_EQ(decoded->state, testing::Bytes(3));
    EXPECT_EQ(decoded->parent->name, "parent");
    EXPECT_EQ(decoded->chunks, sample().chunks);
}

TEST(Manifest, M5_PagesAreInRamAndInOrder) {
    auto manifest = sample();
    manifest.chunks[0].index = 2;
    EXPECT_THAT(why_not(manifest), HasSubstr("chunk 2 of a memory of 2 chunks"));
    manifest.chunks[0].index = ~0U;
    EXPECT_THAT(why_not(manifest), HasSubstr("of a memory of 2 chunks"));
    manifest = sample();
    manifest.chunks.push_back(manifest.chunks[0]);
    EXPECT_THAT(why_not(manifest), HasSubstr("out of order"));
    manifest.chunks[1].index = 0;
    EXPECT_THAT(why_not(manifest), HasSubstr("out of order"));
    manifest = sample();
    manifest.chunks[0].zero = manifest.chunks[0].data;
    EXPECT_THAT(why_not(manifest), HasSubstr("as data and as zero"));
    manifest = sample();
    manifest.parent.reset();
    EXPECT_THAT(why_not(manifest), HasSubstr("which only a diff does"));
    manifest = sample();
    manifest.chunks[0].data = manifest.chunks[0].zero = {};
    EXPECT_THAT(why_not(manifest), HasSubstr("nothing in chunk"));
}

TEST(Manifest, M4_LayoutsAreThoseThatAGuestCanHave) {
    auto manifest = sample();
    manifest.regions = {};
    EXPECT_THAT(why_not(manifest), HasSubstr("no region"));
    manifest.regions = {{{0}, {4096}}};
    EXPECT_THAT(why_not(manifest), HasSubstr("multiples of 2 MiB"));
    manifest.regions = {{{0}, {4U << 20}}, {{2U << 20}, {2U << 20}}};
    EXPECT_THAT(why_not(manifest), HasSubstr("overlaps"));
    manifest.regions = {{{0}, {~0ULL << 21}}};
    EXPECT_THAT(why_not(manifest), HasSubstr("ends above 16 TiB"));
    manifest.regions.clear();
    for (std::uint64_t i = 0; i <= regions_max; ++i)
        manifest.regions.push_back({{i << 22}, {2U << 20}});
    EXPECT_THAT(why_not(manifest), HasSubstr("65 regions"));
}

TEST(Manifest, M1_EveryCutIsRefused) {
    const auto whole = encode(sample()).value();
    for (std::size_t length = 0; length < whole.size(); ++length)
        EXPECT_FALSE(decode_manifest(std::span(whole).first(length))) << length;
    auto longer = whole;
    longer.push_back({});
    EXPECT_FALSE(decode_manifest(longer));
}

// Each four bytes in turn say a lot: nothing is allocated for what is not there.
TEST(Manifest, M7_LengthsAreCheckedBeforeTheyAreBelieved) {
    const auto whole = encode(sample()).value();
    for (const std::uint32_t lie : {~0U, 0x80000000U, 0x7fffffffU, 0x01000000U, 0x10000U}) {
        for (std::size_t at = 0; at + 4 <= whole.size(); ++at) {
            auto bytes = whole;
            store_little_endian(std::span(bytes).subspan(at), lie);
            static_cast<void>(decode_manifest(bytes)); // right or wrong, with the sanitizers looking on
        }
    }
    auto manifest = sample();
    manifest.config.resize(config_length_max.value + 1);
    EXPECT_FALSE(encode(manifest));
    manifest = sample();
    manifest.state.resize(state_length_max.value + 1);
    EXPECT_FALSE(encode(manifest));
}

TEST(Manifest, H6_TheParentIsAFileName) {
    for (const std::string_view name : {std::string_view("."), std::string_view(".."), std::string_view("a/b"),
                                        std::string_view("/"), std::string_view("a\0b", 3)}) {
        auto manifest = sample();
        manifest.parent->name = name;
        EXPECT_THAT(why_not(manifest), HasSubstr("not a file name")) << name;
    }
    EXPECT_FALSE(is_file_name(std::string(256, 'a')));
    EXPECT_TRUE(is_file_name(std::string(255, 'a')));
}

std::string why_not(std::span<const std::byte, Header::size.value> page) {
    const auto header = decode_header(page, {});
    return header ? "it is right" : header.error().message;
}

TEST(Header, M3_SaysWhoSpeaksWhat) {
    const auto right = encode(Header{.memory_length = {2U << 20}, .manifest_length = {100}, .manifest_digest = {}}, {});
    EXPECT_EQ(why_not(right), "it is right");
    const auto with = [&](std::size_t offset, std::uint32_t value) {
        auto page = right;
        store_little_endian(std::span(page).subspan(offset), value);
        return why_not(page);
    };
    EXPECT_THAT(with(0, 1), HasSubstr("not a snapshot"));
    EXPECT_THAT(with(8, 2), HasSubstr("version 2 of the format, and this program reads version 1"));
    EXPECT_THAT(with(8, 0), HasSubstr("version 0"));
    EXPECT_THAT(with(12, 183), HasSubstr("architecture 183"));
    EXPECT_THAT(with(16, 2), HasSubstr("written with a key"));
    EXPECT_THAT(with(16, 3), HasSubstr("digests of kind 3"));
    EXPECT_THAT(with(20, 1), HasSubstr("damaged"));
}

TEST(Header, M7_SizesAreBounded) {
    const auto sealed = [](ByteCount memory, ByteCount manifest) {
        return why_not(encode(Header{.memory_length = memory, .manifest_length = manifest, .manifest_digest = {}}, {}));
    };
    EXPECT_THAT(sealed({4096}, {1}), HasSubstr("which no guest can have"));
    EXPECT_THAT(sealed({1ULL << 45}, {1}), HasSubstr("which no guest can have"));
    EXPECT_THAT(sealed({~0ULL << 21}, {1}), HasSubstr("which no guest can have"));
    EXPECT_THAT(sealed({2U << 20}, {manifest_length_max.value + 1}), HasSubstr("bytes of manifest, more than"));
    EXPECT_THAT(sealed({2U << 20}, {~0ULL}), HasSubstr("bytes of manifest, more than"));
}

} // namespace
} // namespace aerate::snapshot
