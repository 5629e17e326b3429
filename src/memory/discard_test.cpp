// Discarding and what is resident, on every backing.
#include "memory/discarder.hpp"
#include "memory/guest_memory.hpp"
#include "memory/mapping.hpp"

#include <gtest/gtest.h>

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <fstream>
#include <random>
#include <thread>
#include <vector>

namespace aerate {
namespace {

using namespace literals;

constexpr GuestAddress high_start{(4_GiB).value};
constexpr FrameNumber high_first = frame_of(high_start);

std::uint64_t free_huge_pages() {
    std::ifstream pool("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    std::uint64_t pages = 0;
    pool >> pages;
    return pages;
}

/// 8 MiB, a hole up to 4 GiB, 8 MiB more.
class Discard : public testing::TestWithParam<Backing> {
protected:
    void SetUp() override {
        if (GetParam() == Backing::hugetlb && free_huge_pages() < 8)
            GTEST_SKIP() << "SKIPPED: hugetlb is not tested, this host's pool has fewer than 8 free 2 MiB pages "
                            "(echo 8 > /proc/sys/vm/nr_hugepages)";
        auto made = GuestMemory::create({.regions = {{{0}, 8_MiB}, {high_start, 8_MiB}}, .backing = GetParam()});
        ASSERT_TRUE(made) << made.error().message;
        memory.emplace(*std::move(made));
    }

    void fill_all() {
        ASSERT_TRUE(memory->fill({0}, 8_MiB, std::byte{0x5a}));
        ASSERT_TRUE(memory->fill(high_start, 8_MiB, std::byte{0x5a}));
        ASSERT_EQ(memory->resident(), 16_MiB);
    }

    /// The unit that can be discarded, in pages.
    [[nodiscard]] std::uint64_t unit() const { return memory->host_page_size().value / page_size.value; }

    [[nodiscard]] bool holds(PageRange range, std::byte value) const {
        std::vector<std::byte> bytes(bytes_of(range.count).value);
        return memory->read(address_of(range.first), bytes) &&
               std::all_of(bytes.begin(), bytes.end(), [&](std::byte b) { return b == value; });
    }

    std::optional<GuestMemory> memory;
};

TEST_P(Discard, FreesTheRangeAndNothingElse) {
    fill_all();
    const PageRange middle{{unit()}, {2 * unit()}};
    const auto result = memory->discard(std::array{middle});
    EXPECT_EQ(result.discarded, middle.count);
    EXPECT_EQ(result.skipped, 0_pages);
    EXPECT_EQ(result.system_calls, 1U);
    EXPECT_EQ(result.system_error, 0);
    EXPECT_EQ(memory->resident(), 16_MiB - bytes_of(middle.count));
    EXPECT_TRUE(holds({{0}, {unit()}}, std::byte{0x5a}));
    EXPECT_TRUE(holds(middle, std::byte{}));
    EXPECT_TRUE(holds({middle.end(), {unit()}}, std::byte{0x5a}));
    EXPECT_TRUE(holds({high_first, {2048}}, std::byte{0x5a}));
}

TEST_P(Discard, MemoryIsUsableAgain) {
    fill_all();
    memory->discard(std::array{PageRange{{0}, {2048}}});
    EXPECT_EQ(memory->resident(), 8_MiB);
    fill_all();
}

TEST_P(Discard, MergesWhatTouchesInAnyOrder) {
    fill_all();
    const std::uint64_t u = unit();
    const std::array ranges{PageRange{{2 * u}, {u}}, PageRange{{0}, {u}}, PageRange{{0}, {2 * u}}, PageRange{{5}, {0}}};
    const auto result = memory->discard(ranges);
    EXPECT_EQ(result.discarded, PageCount{3 * u});
    EXPECT_EQ(result.skipped, 0_pages) << "an overlap is discarded once";
    EXPECT_EQ(result.system_calls, 1U);
    EXPECT_TRUE(holds({{0}, {3 * u}}, std::byte{}));
    EXPECT_TRUE(holds({{3 * u}, {u}}, std::byte{0x5a}));
}

TEST_P(Discard, R7_RangesAreClippedToRam) {
    fill_all();
    const std::uint64_t u = unit();
    // One page past the end, both ends of the hole, all of the hole, beyond everything, the end of numbers.
    const std::array ranges{PageRange{{2048 - u}, {u + 1}},
                            PageRange{{high_first.value - 1}, {u + 1}},
                            PageRange{{5000}, {70}},
                            PageRange{{high_first.value + 2048}, {1ULL << 40}},
                            PageRange{{~0ULL - 3}, {~0ULL}},
                            PageRange{{~0ULL}, {1}},
                            PageRange{{high_first.value + 4000}, {~0ULL}}};
    const auto result = memory->discard(ranges);
    EXPECT_EQ(result.discarded, PageCount{2 * u});
    EXPECT_GT(result.skipped, 72_pages);
    EXPECT_EQ(result.system_error, 0);
    EXPECT_EQ(memory->resident(), 16_MiB - bytes_of({2 * u}));
    EXPECT_TRUE(holds({{2048 - u}, {u}}, std::byte{}));
    EXPECT_TRUE(holds({{0}, {2048 - u}}, std::byte{0x5a}));
    EXPECT_TRUE(holds({high_first, {u}}, std::byte{}));
    EXPECT_TRUE(holds({{high_first.value + u}, {2048 - u}}, std::byte{0x5a}));
}

TEST_P(Discard, EverythingAtOnceOverTheHole) {
    fill_all();
    const auto result = memory->discard(std::array{PageRange{{0}, memory->address_space()}});
    EXPECT_EQ(result.discarded, 4096_pages);
    EXPECT_EQ(result.skipped, memory->address_space() - 4096_pages);
    EXPECT_EQ(memory->resident(), 0_MiB);
}

TEST_P(Discard, RoundsInwardsToHostPages) {
    fill_all();
    if (unit() == 1)
        GTEST_SKIP() << "every 4 KiB page is a whole host page";
    const auto result = memory->discard(std::array{PageRange{{1}, {3 * unit() - 2}}, PageRange{{2000}, {40}}});
    EXPECT_EQ(result.discarded, PageCount{unit()});
    EXPECT_EQ(result.skipped, PageCount{2 * unit() - 2 + 40});
    EXPECT_TRUE(holds({{0}, {unit()}}, std::byte{0x5a}));
    EXPECT_TRUE(holds({{unit()}, {unit()}}, std::byte{}));
    EXPECT_TRUE(holds({{2 * unit()}, {2048 - 2 * unit()}}, std::byte{0x5a}));
}

TEST_P(Discard, ScatteredRangesTakeFewCalls) {
    fill_all();
    std::vector<PageRange> ranges;
    for (std::uint64_t first = 0; first < 2048; first += 2 * unit())
        ranges.push_back({{first}, {unit()}});
    std::shuffle(ranges.begin(), ranges.end(), std::mt19937_64(7));
    const auto result = memory->discard(ranges);
    EXPECT_EQ(result.discarded, 1024_pages);
    EXPECT_EQ(memory->resident(), 12_MiB);
    // What the kernel of this host can do decides, so ask it as the class does.
    const auto fresh = Mapping::create({.regions = {{{0}, 2_MiB}}, .backing = GetParam()});
    FileBacking no_files(PageBitmap({512}));
    if (fresh && Discarder(GetParam(), fresh->regions().front(), no_files).batches())
        EXPECT_LE(result.system_calls, ranges.size() / Discarder::batch_size + 1);
    else
        EXPECT_LE(result.system_calls, ranges.size());
}

TEST_P(Discard, LockedMemoryIsGivenBackToo) {
    fill_all();
    std::byte* const host = memory->regions()[0].host;
    if (::mlock(host, (4 * page_size.value)) != 0)
        GTEST_SKIP() << "SKIPPED: mlock is not allowed here";
    // The locked pages in the middle of a batch must not stop the rest.
    const auto result =
        memory->discard(std::array{PageRange{{1024}, {512}}, PageRange{{0}, {512}}, PageRange{high_first, {512}}});
    EXPECT_EQ(result.discarded, 1536_pages);
    EXPECT_EQ(result.system_error, 0);
    EXPECT_TRUE(holds({{0}, {512}}, std::byte{}));
    EXPECT_TRUE(holds({high_first, {512}}, std::byte{}));
}

TEST_P(Discard, FailureIsReportedAndStopsNothing) {
    fill_all();
    // As if another part of the monitor had torn the mapping: madvise reports ENOMEM for the range with the hole.
    std::byte* const torn = memory->regions()[0].host + (4_MiB).value;
    ASSERT_EQ(::munmap(torn, (2_MiB).value), 0);
    const auto result =
        memory->discard(std::array{PageRange{{0}, {512}}, PageRange{{1024}, {1024}}, PageRange{high_first, {512}}});
    // Taken again before anyone else gets the address: the memory's destructor unmaps it.
    ASSERT_EQ(::mmap(torn, (2_MiB).value, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), torn);
    EXPECT_NE(result.system_error, 0);
    EXPECT_EQ(result.discarded, 1024_pages);
    EXPECT_EQ(result.skipped, 1024_pages);
    EXPECT_TRUE(holds({{0}, {512}}, std::byte{}));
    EXPECT_TRUE(holds({high_first, {512}}, std::byte{}));
}

TEST_P(Discard, ResidentWithinCountsOnlySetPages) {
    const std::uint64_t u = unit();
    PageBitmap pages(memory->address_space());
    pages.set({{0}, {2 * u}});
    pages.set({high_first, {3 * u}});
    EXPECT_EQ(memory->resident_within(pages), 0_pages);
    fill_all();
    EXPECT_EQ(memory->resident_within(pages), PageCount{5 * u});
    memory->discard(std::array{PageRange{{u}, {2 * u}}});
    EXPECT_EQ(memory->resident_within(pages), PageCount{4 * u});
    pages.clear_all();
    EXPECT_EQ(memory->resident_within(pages), 0_pages);
    EXPECT_EQ(memory->resident_within(PageBitmap()), 0_pages);
}

TEST_P(Discard, OtherThreadsReadAndWriteMeanwhile) {
    fill_all();
    std::atomic<bool> stop = false;
    std::thread writer([&] {
        for (std::uint64_t page = 0; !stop; page = (page + 1) % 512) {
            // The upper half is never discarded: what is stored there stays.
            const GuestAddress address{high_start.value + page * page_size.value};
            EXPECT_TRUE(memory->store<std::uint64_t>(address, page));
            EXPECT_EQ(memory->load<std::uint64_t>(address), page);
            EXPECT_TRUE(memory->store<std::uint64_t>({page * page_size.value}, 1));
        }
    });
    for (int round = 0; round < 200; ++round) {
        const auto result = memory->discard(std::array{PageRange{{0}, {512}}, PageRange{{1024}, {512}}});
        ASSERT_EQ(result.discarded, 1024_pages);
        ASSERT_LE(memory->resident(), 16_MiB);
    }
    stop = true;
    writer.join();
}

INSTANTIATE_TEST_SUITE_P(Backings, Discard, testing::Values(Backing::anonymous, Backing::memfd, Backing::hugetlb),
                         [](const testing::TestParamInfo<Backing>& test) {
                             switch (test.param) {
                             case Backing::anonymous:
                                 return "Anonymous";
                             case Backing::memfd:
                                 return "Memfd";
                             case Backing::hugetlb:
                                 return "Hugetlb";
                             }
                             return "Unknown";
                         });

// process_madvise cuts a batch at 2 GiB; the pieces beyond must be discarded all the same.
TEST(DiscardLarge, BatchesBeyondTwoGibibytes) {
    auto memory = GuestMemory::create({.regions = {{{0}, 3_GiB}, {high_start, 8_GiB}}}).value();
    const std::array probes{GuestAddress{5}, GuestAddress{(3_GiB).value - 1}, GuestAddress{(5_GiB).value},
                            GuestAddress{(12_GiB).value - 1}};
    for (const GuestAddress address : probes)
        ASSERT_TRUE(memory.store<std::uint8_t>(address, 1));
    const auto result = memory.discard(std::array{PageRange{{0}, whole_pages_of(12_GiB)}});
    EXPECT_EQ(result.discarded, whole_pages_of(11_GiB));
    EXPECT_EQ(result.skipped, whole_pages_of(1_GiB));
    EXPECT_EQ(result.system_error, 0);
    for (const GuestAddress address : probes)
        EXPECT_EQ(memory.load<std::uint8_t>(address), std::uint8_t{0});
}

TEST(DiscardLarge, MoreRangesThanABatch) {
    auto memory = GuestMemory::create({.regions = {{{0}, 16_MiB}}, .backing = Backing::memfd}).value();
    ASSERT_TRUE(memory.fill({0}, 16_MiB, std::byte{1}));
    std::vector<PageRange> ranges;
    for (std::uint64_t first = 0; first < 4096; first += 2)
        ranges.push_back({{first}, {1}});
    const auto result = memory.discard(ranges);
    EXPECT_EQ(result.discarded, 2048_pages);
    EXPECT_EQ(result.skipped, 0_pages);
    EXPECT_EQ(memory.resident(), 8_MiB);
}

// Pages that were only read are the host's one zero page, not the guest's cost. Older kernels cannot tell.
TEST(Resident, AnonymousPagesThatWereOnlyReadAreFree) {
    const auto memory = GuestMemory::create({.regions = {{{0}, 4_MiB}}}).value();
    std::vector<std::byte> bytes((4_MiB).value);
    ASSERT_TRUE(memory.read({0}, bytes));
    if (memory.resident() == 4_MiB)
        GTEST_SKIP() << "SKIPPED: no PAGEMAP_SCAN (Linux 6.7), the zero page counts";
    EXPECT_EQ(memory.resident(), 0_MiB);
}

TEST(Resident, MemfdCountsWhatOthersTouched) {
    auto memory = GuestMemory::create({.regions = {{{0}, 4_MiB}}, .backing = Backing::memfd}).value();
    const std::array<std::byte, 5000> bytes{};
    ASSERT_EQ(::pwrite(memory.regions()[0].fd, bytes.data(), bytes.size(), (1_MiB).value), 5000);
    PageBitmap all(memory.address_space());
    all.set({{0}, all.size()});
    EXPECT_EQ(memory.resident(), 8_KiB);
    EXPECT_EQ(memory.resident_within(all), 2_pages);
}

// RLIMIT_FSIZE counts a memfd, and exceeding it is a signal: create() must say so instead.
TEST(Resident, TheFileSizeLimitIsAnErrorNotASignal) {
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    const rlimit small{.rlim_cur = (1_MiB).value, .rlim_max = before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    const auto memory = GuestMemory::create({.regions = {{{0}, 4_MiB}}, .backing = Backing::memfd});
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    ASSERT_FALSE(memory);
    EXPECT_NE(memory.error().message.find("ulimit -f"), std::string::npos);
}

} // namespace
} // namespace aerate
