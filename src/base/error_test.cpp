#include "base/error.hpp"
#include "base/units.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace aerate {
namespace {

Result<std::unique_ptr<int>> make(bool works) {
    if (!works)
        return fail("no {} today", "int");
    return std::make_unique<int>(5);
}

Result<int> use(bool works) {
    const auto value = TRY(make(works));
    return *value + 1;
}

Result<> only_effect(bool works) {
    TRY(make(works));
    return {};
}

TEST(Error, TryUnwrapsMoveOnlyValuesAndPassesErrorsOn) {
    EXPECT_EQ(use(true).value(), 6);
    EXPECT_EQ(use(false).error().message, "no int today");
    EXPECT_TRUE(only_effect(true));
    EXPECT_FALSE(only_effect(false));
}

TEST(Error, ErrnoIsKeptAndDescribed) {
    errno = ENOENT;
    const auto failed = [] -> Result<> { return fail_errno("cannot open {}", "x"); }();
    EXPECT_EQ(failed.error().system_error, ENOENT);
    EXPECT_EQ(failed.error().message, "cannot open x: No such file or directory");
}

TEST(Units, PagesAndBytesConvertEachWay) {
    EXPECT_EQ(bytes_of(PageCount{3}), ByteCount{12288});
    EXPECT_EQ(whole_pages_of(ByteCount{8191}), PageCount{1});
    EXPECT_EQ(pages_covering(ByteCount{8193}), PageCount{3});
    EXPECT_EQ(pages_covering(ByteCount{~0ULL}), PageCount{1ULL << 52});
}

} // namespace
} // namespace aerate
