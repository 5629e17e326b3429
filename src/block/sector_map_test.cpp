#include "base/testing/refusing_host.hpp"
#include "block/sector_map.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

namespace aerate {
namespace {

constexpr std::uint64_t sector = 512;

TEST(SectorMap, AnUnwrittenDiskIsOneRunOfTheImage) {
    const auto map = SectorMap::create({10ULL << 30});
    ASSERT_TRUE(map);
    const auto run = map->first_run(0, 10ULL << 30);
    EXPECT_FALSE(run.in_layer);
    EXPECT_EQ(run.length, 10ULL << 30);
}

TEST(SectorMap, AWriteThatIsCutShortWithinASectorTakesItWhenItsEndIsWritten) {
    auto map = SectorMap::create({16 * sector});
    ASSERT_TRUE(map);
    map->take(2 * sector, sector + 100);
    EXPECT_EQ(map->first_run(2 * sector, 14 * sector).length, sector);
    EXPECT_FALSE(map->first_run(3 * sector, sector).in_layer);
    map->take(3 * sector + 100, sector - 100);
    EXPECT_TRUE(map->first_run(3 * sector, sector).in_layer);
    EXPECT_EQ(map->first_run(2 * sector, 14 * sector).length, 2 * sector);
}

TEST(SectorMap, ARunMayBeginAndEndWithinASector) {
    auto map = SectorMap::create({16 * sector});
    ASSERT_TRUE(map);
    map->take(4 * sector, sector);
    EXPECT_EQ(map->first_run(4 * sector + 100, 1000).length, sector - 100);
    EXPECT_EQ(map->first_run(4 * sector + 100, 50).length, 50U);
    EXPECT_EQ(map->first_run(sector / 2, 8 * sector).length, 3 * sector + sector / 2);
}

TEST(SectorMap, TheHostMayRefuseItsMemory) {
    const testing::RefusingHost host(1, testing::RefusingHost::For::once, host::Resource::memory);
    EXPECT_FALSE(SectorMap::create({1 << 20}));
}

// Every size near the words' edges, against a byte for each sector.
TEST(SectorMap, AgreesWithAModel) {
    std::mt19937_64 random(3);
    for (const std::uint64_t sectors : {1U, 63U, 64U, 65U, 127U, 128U, 200U, 777U}) {
        auto map = SectorMap::create({sectors * sector});
        ASSERT_TRUE(map);
        std::vector<bool> model(sectors);
        for (int step = 0; step < 400; ++step) {
            const std::uint64_t first = random() % sectors;
            const std::uint64_t count =
                1 + random() % std::min<std::uint64_t>(sectors - first, step % 2 == 0 ? 9 : 200);
            if (random() % 8 == 0) {
                const std::uint64_t cut = random() % sector;
                map->take(first * sector, count * sector - cut);
                std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(first), count - (cut > 0 ? 1 : 0), true);
            }
            const auto run = map->first_run(first * sector, count * sector);
            const auto begin = model.begin() + static_cast<std::ptrdiff_t>(first);
            const auto end = std::find(begin, begin + static_cast<std::ptrdiff_t>(count), !model[first]);
            ASSERT_EQ(run.in_layer, model[first]);
            ASSERT_EQ(run.length, static_cast<std::uint64_t>(end - begin) * sector);
        }
    }
}

} // namespace
} // namespace aerate
