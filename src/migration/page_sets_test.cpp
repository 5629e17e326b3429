#include "migration/page_sets.hpp"

#include <gtest/gtest.h>

#include <random>

namespace aerate::migration {
namespace {

TEST(PagesFromLowest, IsTheBitmapThatItHolds) {
    constexpr PageCount size{300};
    std::mt19937 random(3);
    const auto range = [&] { return PageRange{{random() % 310}, {random() % 20}}; };
    for (int trial = 0; trial < 200; ++trial) {
        PagesFromLowest fast[2] = {PagesFromLowest(PageBitmap(size)), PagesFromLowest(PageBitmap(size))};
        PageBitmap plain[2] = {PageBitmap(size), PageBitmap(size)};
        for (int step = 0; step < 100; ++step) {
            const std::size_t i = random() % 2;
            const PageRange pages = range();
            switch (random() % 8) {
            case 0:
                fast[i].set(pages);
                plain[i].set(pages);
                break;
            case 1:
                fast[i].clear(pages);
                plain[i].clear(pages);
                break;
            case 2:
                fast[i].add(fast[1 - i]);
                plain[i].add(plain[1 - i]);
                break;
            case 3:
                fast[i].remove(fast[1 - i]);
                plain[i].remove(plain[1 - i]);
                break;
            case 4:
                fast[i].move_into(fast[1 - i]);
                plain[i].move_into(plain[1 - i]);
                break;
            case 5:
                fast[i].filling().set(pages);
                plain[i].set(pages);
                break;
            default: {
                const FrameNumber from{random() % 4 == 0 ? random() % 300 : 0};
                const PageCount limit{1 + random() % 30};
                const PageRange run = plain[i].next_run(from, limit);
                ASSERT_EQ(fast[i].next_run(from, limit), run);
                if (random() % 2 == 0) {
                    fast[i].clear(run);
                    plain[i].clear(run);
                }
            }
            }
            ASSERT_EQ(fast[i].count(), plain[i].count());
        }
    }
}

} // namespace
} // namespace aerate::migration
