#include "base/endian.hpp"
#include "base/testing/temporary_directory.hpp"
#include "snapshot/testing/sample.hpp"
#include "snapshot/working_set.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace aerate::snapshot {
namespace {

using namespace literals;
using ::testing::HasSubstr;

class WorkingSet : public ::testing::Test {
protected:
    [[nodiscard]] std::string why_not() const {
        const auto ranges = read_working_set(place);
        return ranges ? "it works" : ranges.error().message;
    }
    /// Sealed again, as everybody can without a key.
    void write(testing::Bytes bytes, bool sealed = false) const {
        if (sealed) {
            const std::span all(bytes);
            std::ranges::copy(seal_of(all.first(bytes.size() - sizeof(Digest)), {}), all.last(sizeof(Digest)).begin());
        }
        std::ofstream(place.path(), std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    }
    [[nodiscard]] testing::Bytes read() const {
        testing::Bytes bytes(std::filesystem::file_size(place.path()));
        std::ifstream(place.path(), std::ios::binary)
            .read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
        return bytes;
    }

    TemporaryDirectory directory;
    WorkingSetPlace place{.snapshot_path = directory / "a",
                          .identity = digest_of(DigestKind::xxh3, {}),
                          .regions = {{{0}, 2_MiB}, {{(8_MiB).value}, 4_MiB}},
                          .key = {}};
    PageBitmap pages{whole_pages_of(12_MiB)};
};

TEST_F(WorkingSet, ComesBackInPiecesOfAMebibyte) {
    EXPECT_EQ(read_working_set(place)->size(), 0U) << "there is none yet";
    for (const PageRange range : {PageRange{{3}, {2}}, PageRange{{250}, {10}}, PageRange{{2048}, {1024}}})
        pages.set(range);
    ASSERT_TRUE(write_working_set(place, pages));
    const auto ranges = read_working_set(place);
    ASSERT_TRUE(ranges) << ranges.error().message;
    const std::vector<PageRange> expected{{{3}, {2}},      {{250}, {6}},    {{256}, {4}},   {{2048}, {256}},
                                          {{2304}, {256}}, {{2560}, {256}}, {{2816}, {256}}};
    EXPECT_EQ(*ranges, expected);
    pages.clear({{0}, {2560}});
    ASSERT_TRUE(write_working_set(place, pages)) << "over the old one";
    EXPECT_EQ(read_working_set(place)->size(), 2U);
    EXPECT_EQ(directory.files(), 1U);
}

TEST_F(WorkingSet, WhatIsNotRamIsLeftOut) {
    pages.set({{500}, {2000}});
    ASSERT_TRUE(write_working_set(place, pages));
    PageCount total{};
    const auto ranges = read_working_set(place);
    ASSERT_TRUE(ranges) << ranges.error().message;
    for (const PageRange& range : *ranges)
        total += range.count;
    EXPECT_EQ(total, PageCount{12 + 452});
}

TEST_F(WorkingSet, BelongsToOneSnapshotAndOneKey) {
    pages.set({{3}, {2}});
    ASSERT_TRUE(write_working_set(place, pages));
    WorkingSetPlace other = place;
    other.identity[0] ^= std::byte{1};
    EXPECT_THAT(read_working_set(other).error().message, HasSubstr("for another snapshot"));
    other = place;
    other.key = testing::sample_key();
    EXPECT_THAT(read_working_set(other).error().message, HasSubstr("without a key"));
    ASSERT_TRUE(write_working_set(other, pages));
    EXPECT_THAT(why_not(), HasSubstr("with a key"));
    other.key = testing::sample_key(9);
    EXPECT_THAT(read_working_set(other).error().message, HasSubstr("another key"));
}

TEST_F(WorkingSet, M1_M2_CutOrDamagedItIsRefused) {
    pages.set({{3}, {2}});
    pages.set({{2048}, {1}});
    ASSERT_TRUE(write_working_set(place, pages));
    const testing::Bytes whole = read();
    for (std::size_t length = 0; length < whole.size() + 100; ++length) {
        testing::Bytes cut = whole;
        cut.resize(length);
        write(std::move(cut));
        EXPECT_EQ(why_not() == "it works", length == whole.size()) << length;
    }
    for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
        testing::Bytes flipped = whole;
        flipped[bit / 8] ^= std::byte{1} << (bit % 8);
        write(std::move(flipped));
        EXPECT_NE(why_not(), "it works") << bit;
    }
}

TEST_F(WorkingSet, M5_ChunksOutsideRamOrTwiceAreRefused) {
    pages.set({{3}, {2}});
    pages.set({{2048}, {1}});
    ASSERT_TRUE(write_working_set(place, pages));
    const testing::Bytes whole = read();
    constexpr std::size_t second_record = 48 + 40;
    for (const std::uint32_t index : {0U, 6U, ~0U}) {
        testing::Bytes bytes = whole;
        store_little_endian(std::span(bytes).subspan(second_record), index);
        write(std::move(bytes), true);
        EXPECT_THAT(why_not(), HasSubstr("chunk")) << index;
    }
    write(whole, true);
    EXPECT_EQ(why_not(), "it works");
}

TEST_F(WorkingSet, H6_OnlyARegularFileIsRead) {
    pages.set({{3}, {2}});
    ASSERT_TRUE(write_working_set(place, pages));
    std::filesystem::rename(place.path(), directory / "elsewhere");
    std::filesystem::create_symlink(directory / "elsewhere", place.path());
    EXPECT_THAT(why_not(), HasSubstr("cannot be opened"));
    EXPECT_FALSE(write_working_set(place, pages)) << "nor replaced";
    std::filesystem::remove(place.path());
    ASSERT_EQ(::mkfifo(place.path().c_str(), 0600), 0);
    EXPECT_THAT(why_not(), HasSubstr("not a regular file"));
}

} // namespace
} // namespace aerate::snapshot
