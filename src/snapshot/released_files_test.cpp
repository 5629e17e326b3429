// What released monitors wrote, read by this one: see testing/samples/README.md.
#include "base/testing/sample.hpp"
#include "snapshot/header.hpp"
#include "snapshot/manifest.hpp"

#include <gtest/gtest.h>

#include <span>
#include <string>

namespace aerate::snapshot {
namespace {

TEST(ReleasedFiles, C21_Version1IsRead) {
    const auto bytes = aerate::testing::sample(AERATE_SAMPLES, "snapshot-1");
    ASSERT_GT(bytes.size(), Header::size.value);
    const auto header = decode_header(std::span(bytes).first<Header::size.value>(), std::nullopt);
    ASSERT_TRUE(header) << header.error().message;
    EXPECT_EQ(header->memory_length, ByteCount{16U << 20});
    const auto rest = std::span(bytes).subspan(Header::size.value);
    ASSERT_EQ(header->manifest_length.value, rest.size());
    EXPECT_TRUE(equal(digest_of(header->kind, rest), header->manifest_digest));

    const auto manifest = decode_manifest(rest);
    ASSERT_TRUE(manifest) << manifest.error().message;
    ASSERT_EQ(manifest->regions.size(), 1U);
    EXPECT_EQ(manifest->regions[0].length, ByteCount{16U << 20});
    EXPECT_NE(manifest->config.find("\"mem_size_mib\":16"), std::string::npos);
    EXPECT_FALSE(manifest->parent);
    EXPECT_FALSE(manifest->state.empty());
    EXPECT_FALSE(manifest->chunks.empty());
}

} // namespace
} // namespace aerate::snapshot
