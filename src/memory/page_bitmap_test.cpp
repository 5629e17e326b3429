#include "memory/page_bitmap.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <random>
#include <set>
#include <thread>
#include <vector>

namespace aerate {
namespace {

using namespace literals;

PageRange range(std::uint64_t first, std::uint64_t count) {
    return {{first}, {count}};
}

std::vector<PageRange> runs_of(const PageBitmap& bitmap, PageCount longest = {~0ULL}) {
    std::vector<PageRange> runs;
    for (PageRange run = bitmap.next_run({0}, longest); run.count > 0_pages; run = bitmap.next_run(run.end(), longest))
        runs.push_back(run);
    return runs;
}

TEST(PageBitmap, DefaultIsEmpty) {
    PageBitmap bitmap;
    PageBitmap other(10_pages);
    EXPECT_EQ(bitmap.size(), 0_pages);
    EXPECT_EQ(bitmap.count(), 0_pages);
    EXPECT_EQ(bitmap.set(range(0, 5)), 0_pages);
    EXPECT_EQ(bitmap.next_run({0}), PageRange{});
    bitmap.merge_word(0, ~0ULL);
    bitmap.move_into(other);
    EXPECT_EQ(other.count(), 0_pages);
}

TEST(PageBitmap, SetAndClearSayWhatChanged) {
    PageBitmap bitmap(200_pages);
    EXPECT_EQ(bitmap.set(range(60, 10)), 10_pages);
    EXPECT_EQ(bitmap.set(range(65, 10)), 5_pages);
    EXPECT_EQ(bitmap.clear(range(0, 62)), 2_pages);
    EXPECT_EQ(bitmap.count(), 13_pages);
    EXPECT_EQ(bitmap.count(range(64, 4)), 4_pages);
    EXPECT_FALSE(bitmap.test({61}));
    EXPECT_TRUE(bitmap.test({62}));
}

TEST(PageBitmap, R7_BitsBeyondTheEndAreIgnored) {
    PageBitmap bitmap(70_pages);
    EXPECT_EQ(bitmap.set(range(68, 1000)), 2_pages);
    EXPECT_EQ(bitmap.set(range(69, ~0ULL)), 0_pages);
    EXPECT_EQ(bitmap.set(range(~0ULL, ~0ULL)), 0_pages);
    bitmap.merge_word(1, ~0ULL);
    bitmap.merge_word(2, ~0ULL);
    bitmap.merge_word(~0ULL, ~0ULL);
    EXPECT_EQ(bitmap.count(), 6_pages);
    EXPECT_FALSE(bitmap.test({70}));
    EXPECT_FALSE(bitmap.test({~0ULL}));
    EXPECT_EQ(bitmap.next_run({64}), range(64, 6));
    EXPECT_EQ(bitmap.next_run({70}), PageRange{});
}

TEST(PageBitmap, RunsCrossWordsAndStopAtTheLongest) {
    PageBitmap bitmap(1000_pages);
    bitmap.set(range(63, 200));
    bitmap.set(range(500, 500));
    EXPECT_EQ(runs_of(bitmap), (std::vector{range(63, 200), range(500, 500)}));
    EXPECT_EQ(runs_of(bitmap, 300_pages), (std::vector{range(63, 200), range(500, 300), range(800, 200)}));
    EXPECT_EQ(bitmap.next_run({100}), range(100, 163));
    EXPECT_EQ(bitmap.next_run({0}, 0_pages), PageRange{});
}

TEST(PageBitmap, MoveIntoASmallerOneDropsWhatDoesNotFit) {
    PageBitmap from(300_pages);
    PageBitmap into(100_pages);
    from.set(range(90, 100));
    into.set(range(5, 1));
    from.move_into(into);
    EXPECT_EQ(from.count(), 0_pages);
    EXPECT_EQ(runs_of(into), (std::vector{range(5, 1), range(90, 10)}));
}

/// A random history, kept also in a std::set.
class PageBitmapModel : public testing::TestWithParam<std::uint64_t> {};

TEST_P(PageBitmapModel, AgreesWithASet) {
    std::mt19937_64 random(GetParam());
    const auto below = [&](std::uint64_t limit) { return random() % limit; };
    const std::uint64_t size = 1 + below(400);
    PageBitmap bitmap(PageCount{size});
    std::set<std::uint64_t> model;

    for (int step = 0; step < 300; ++step) {
        const PageRange some = range(below(size + 40), below(below(4) == 0 ? 200 : 20));
        const std::uint64_t end = std::min(some.end().value, size);
        std::uint64_t changed = 0;
        switch (below(4)) {
        case 0:
        case 1:
            for (std::uint64_t frame = some.first.value; frame < end; ++frame)
                changed += model.insert(frame).second ? 1U : 0U;
            ASSERT_EQ(bitmap.set(some).value, changed);
            break;
        case 2:
            for (std::uint64_t frame = some.first.value; frame < end; ++frame)
                changed += model.erase(frame);
            ASSERT_EQ(bitmap.clear(some).value, changed);
            break;
        default: {
            const std::uint64_t index = below(8);
            const std::uint64_t word = random() & random();
            bitmap.merge_word(index, word);
            for (std::uint64_t bit = 0; bit < 64; ++bit) {
                if ((word >> bit & 1U) != 0 && index * 64 + bit < size)
                    model.insert(index * 64 + bit);
            }
        }
        }

        ASSERT_EQ(bitmap.count().value, model.size());
        const auto inside = std::count_if(
            model.begin(), model.end(), [&](std::uint64_t frame) { return frame >= some.first.value && frame < end; });
        ASSERT_EQ(bitmap.count(some).value, static_cast<std::uint64_t>(inside));
        const PageCount longest{1 + below(100)};
        std::set<std::uint64_t> seen;
        for (const PageRange& run : runs_of(bitmap, longest)) {
            ASSERT_LE(run.count, longest);
            ASSERT_TRUE(run.count == longest || !model.contains(run.end().value));
            for (std::uint64_t frame = run.first.value; frame < run.end().value; ++frame) {
                ASSERT_TRUE(bitmap.test({frame}));
                seen.insert(frame);
            }
        }
        ASSERT_EQ(seen, model);
    }
}

INSTANTIATE_TEST_SUITE_P(Seeds, PageBitmapModel, testing::Range<std::uint64_t>(0, 40));

/// The same with two bitmaps that take from each other, of sizes at which some of 16 MiB are empty.
class TwoPageBitmaps : public testing::TestWithParam<std::uint64_t> {};

TEST_P(TwoPageBitmaps, AgreeWithSets) {
    std::mt19937_64 random(GetParam());
    const auto below = [&](std::uint64_t limit) { return random() % limit; };
    std::array<std::uint64_t, 2> sizes{};
    std::array<PageBitmap, 2> bitmaps;
    std::array<std::set<std::uint64_t>, 2> models;
    for (std::size_t i = 0; i < 2; ++i) {
        sizes[i] = 1 + below(300'000); // more groups than a word has bits
        bitmaps[i] = PageBitmap(PageCount{sizes[i]});
    }
    for (int step = 0; step < 200; ++step) {
        const std::size_t i = below(2);
        const std::size_t other = 1 - i;
        const PageRange some = range(below(sizes[i]), below(20) == 0 ? below(9000) : below(100));
        const std::uint64_t end = std::min(some.end().value, sizes[i]);
        switch (below(7)) {
        case 0:
        case 1:
        case 2:
            bitmaps[i].set(some);
            for (std::uint64_t frame = some.first.value; frame < end; ++frame)
                models[i].insert(frame);
            break;
        case 3:
            bitmaps[i].clear(some);
            models[i].erase(models[i].lower_bound(some.first.value), models[i].lower_bound(end));
            break;
        case 4:
            bitmaps[i].move_into(bitmaps[other]);
            models[i].erase(models[i].lower_bound(sizes[other]), models[i].end());
            models[other].merge(models[i]);
            models[i].clear();
            break;
        case 5:
            bitmaps[i].add(bitmaps[other], some);
            for (const std::uint64_t frame : models[other])
                if (frame >= some.first.value && frame < end)
                    models[i].insert(frame);
            break;
        default:
            bitmaps[i].remove(bitmaps[other]);
            for (const std::uint64_t frame : models[other])
                models[i].erase(frame);
        }
        for (std::size_t k = 0; k < 2; ++k) {
            ASSERT_EQ(bitmaps[k].count().value, models[k].size()) << step;
            auto expected = models[k].begin();
            for (const PageRange& run : runs_of(bitmaps[k]))
                for (std::uint64_t frame = run.first.value; frame < run.end().value; ++frame)
                    ASSERT_EQ(*expected++, frame) << step;
            ASSERT_EQ(expected, models[k].end()) << step;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Seeds, TwoPageBitmaps, testing::Range<std::uint64_t>(0, 20));

TEST(PageBitmap, ConcurrentSetAndMoveLoseNothing) {
    constexpr std::uint64_t frames = 1 << 14;
    PageBitmap source(PageCount{frames});
    PageBitmap taken(PageCount{frames});
    std::atomic<int> writers = 2;
    const auto write = [&](std::uint64_t parity) {
        for (std::uint64_t frame = parity; frame < frames; frame += 2)
            source.set(range(frame, 1));
        --writers;
    };
    std::thread even(write, 0);
    std::thread odd(write, 1);
    while (writers > 0)
        source.move_into(taken);
    even.join();
    odd.join();
    source.move_into(taken);
    EXPECT_EQ(taken.count(), PageCount{frames});
    EXPECT_EQ(source.count(), 0_pages);
}

} // namespace
} // namespace aerate
