#include "migration/wire/delta_cache.hpp"

#include <gtest/gtest.h>

#include <array>

namespace aerate::migration {
namespace {

std::array<std::byte, 4096> page_of(std::uint8_t fill) {
    std::array<std::byte, 4096> page;
    page.fill(static_cast<std::byte>(fill));
    return page;
}

TEST(DeltaCache, KeepsWhatIsSentAgainAndLetsGoOfWhatIsNot) {
    auto cache = *DeltaCache::create({4 * 4096}, 1);
    EXPECT_FALSE(cache.find({1}, 2));
    cache.remember({1}, 2, page_of(1));
    ASSERT_TRUE(cache.find({1}, 3));
    EXPECT_EQ(cache.find({1}, 3)->front(), std::byte{1});
    // Page 5 would have the same place.
    cache.remember({5}, 4, page_of(5));
    EXPECT_FALSE(cache.find({5}, 4)) << "page 1 was sent in the round before";
    EXPECT_TRUE(cache.find({1}, 4));
    cache.remember({5}, 6, page_of(5));
    EXPECT_TRUE(cache.find({5}, 6));
    EXPECT_FALSE(cache.find({1}, 6));
    cache.remember({5}, 6, page_of(6));
    EXPECT_EQ(cache.find({5}, 6)->front(), std::byte{6});
    cache.forget({{0}, {5}});
    EXPECT_TRUE(cache.find({5}, 6));
    cache.forget({{5}, {1}});
    EXPECT_FALSE(cache.find({5}, 6));
}

} // namespace
} // namespace aerate::migration
