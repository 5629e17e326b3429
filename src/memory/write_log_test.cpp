#include "memory/write_log.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>

namespace aerate {
namespace {

using namespace literals;

TEST(WriteLog, RecordsOnlyWhileStarted) {
    WriteLog log(PageBitmap(100_pages));
    PageBitmap taken(100_pages);
    log.record({{1}, {1}});
    log.start();
    log.record({{2}, {3}});
    log.stop();
    log.record({{9}, {1}});
    log.take(taken);
    EXPECT_EQ(taken.next_run({0}), (PageRange{{2}, {3}}));
    EXPECT_EQ(taken.count(), 3_pages);
}

TEST(WriteLog, StartForgetsWhatNobodyTook) {
    WriteLog log(PageBitmap(100_pages));
    PageBitmap taken(100_pages);
    log.start();
    log.record({{5}, {1}});
    log.stop();
    log.start();
    EXPECT_TRUE(log.active());
    log.take(taken);
    EXPECT_EQ(taken.count(), 0_pages);
}

TEST(WriteLog, TakeForgets) {
    WriteLog log(PageBitmap(100_pages));
    PageBitmap first(100_pages);
    PageBitmap second(100_pages);
    log.start();
    log.record({{5}, {1}});
    log.take(first);
    log.take(second);
    EXPECT_EQ(first.count(), 1_pages);
    EXPECT_EQ(second.count(), 0_pages);
}

// Each page holds a version that only grows. A writer stores a version and records; the taker copies the pages that it
// takes. Once all is taken the copy must be the last version: no bit was taken before its bytes could be seen.
TEST(WriteLog, ConcurrentTakerSeesTheLastVersion) {
    constexpr std::uint64_t pages = 64;
    constexpr std::uint64_t versions = 2000;
    WriteLog log(PageBitmap(PageCount{pages}));
    std::array<std::atomic<std::uint64_t>, pages> memory{};
    std::array<std::uint64_t, pages> copy{};
    PageBitmap taken(PageCount{pages});
    const auto take = [&] {
        log.take(taken);
        for (PageRange run = taken.next_run({0}, 1_pages); run.count > 0_pages; run = taken.next_run({0}, 1_pages)) {
            taken.clear(run);
            copy[run.first.value] = memory[run.first.value].load(std::memory_order_relaxed);
        }
    };

    log.start();
    std::atomic<int> writers = 2;
    const auto write = [&](std::uint64_t parity) {
        for (std::uint64_t version = 1; version <= versions; ++version) {
            for (std::uint64_t page = parity; page < pages; page += 2) {
                memory[page].store(version, std::memory_order_relaxed);
                log.record({{page}, {1}});
            }
        }
        --writers;
    };
    std::thread even(write, 0);
    std::thread odd(write, 1);
    while (writers > 0)
        take();
    even.join();
    odd.join();
    take();
    for (const std::uint64_t version : copy)
        ASSERT_EQ(version, versions);
}

// A store either is recorded or was visible when start() returned.
TEST(WriteLog, StartRacesWithAWriter) {
    for (int round = 0; round < 300; ++round) {
        WriteLog log(PageBitmap(1_pages));
        PageBitmap taken(1_pages);
        std::atomic<int> page = 0;
        std::atomic<bool> go = false;
        std::thread writer([&] {
            while (!go)
                ;
            page.store(1, std::memory_order_relaxed);
            log.record({{0}, {1}});
        });
        go = true;
        log.start();
        const int seen = page.load(std::memory_order_relaxed);
        writer.join();
        log.take(taken);
        ASSERT_TRUE(seen == 1 || taken.test({0})) << "round " << round;
    }
}

} // namespace
} // namespace aerate
