#include "memory/page_bitmap.hpp"
#include "prove/small_pages.hpp"

#include <gtest/gtest.h>

#include <random>

namespace aerate::prove {
namespace {

bool equal(const SmallPages& small, const PageBitmap& bitmap) {
    for (unsigned page = 0; page < SmallPages::capacity; ++page)
        if (small.has(page) != bitmap.test({page}))
            return false;
    return true;
}

/// What is proven with the explorer's set holds for the set that ships only if both do the same.
TEST(SmallPages, DoesWhatPageBitmapDoes) {
    std::mt19937_64 random(1);
    SmallPages small[2];
    PageBitmap bitmaps[2] = {PageBitmap{{8}}, PageBitmap{{8}}};
    for (int i = 0; i < 20'000; ++i) {
        const PageRange range{{random() % 8}, {random() % 9}};
        switch (random() % 6) {
        case 0:
            small[0].set(range);
            bitmaps[0].set(range);
            break;
        case 1:
            small[0].clear(range);
            bitmaps[0].clear(range);
            break;
        case 2:
            small[0].add(small[1]);
            bitmaps[0].add(bitmaps[1]);
            break;
        case 3:
            small[0].remove(small[1]);
            bitmaps[0].remove(bitmaps[1]);
            break;
        case 4:
            small[0].move_into(small[1]);
            bitmaps[0].move_into(bitmaps[1]);
            break;
        default:
            EXPECT_EQ(small[1].next_run(range.first, range.count), bitmaps[1].next_run(range.first, range.count));
        }
        ASSERT_TRUE(equal(small[0], bitmaps[0]) && equal(small[1], bitmaps[1])) << "after " << i;
    }
}

} // namespace
} // namespace aerate::prove
