#include "memory/guest_memory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

namespace aerate {
namespace {

using namespace literals;

constexpr GuestAddress high_start{(4_GiB).value};

MemoryLayout layout(Backing backing, std::vector<MemoryRegion> regions) {
    return {.regions = std::move(regions), .backing = backing};
}

GuestMemory make(std::vector<MemoryRegion> regions) {
    return GuestMemory::create(layout(Backing::anonymous, std::move(regions))).value();
}

/// Two adjacent regions, a hole, and one above 4 GiB.
GuestMemory three_regions() {
    return make({{{0}, 4_MiB}, {{(4_MiB).value}, 2_MiB}, {high_start, 2_MiB}});
}

std::vector<std::byte> pattern(std::size_t size) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i)
        bytes[i] = static_cast<std::byte>(i * 7 + 1);
    return bytes;
}

std::string why_not(std::vector<MemoryRegion> regions) {
    const auto memory = GuestMemory::create(layout(Backing::anonymous, std::move(regions)));
    return memory ? "it works" : memory.error().message;
}

TEST(GuestMemory, BadLayoutsAreRefusedWithTheReason) {
    EXPECT_EQ(why_not({}), "the memory layout has no region");
    EXPECT_EQ(why_not({{{0}, 0_MiB}}), "the memory region at 0x0 is empty");
    EXPECT_EQ(why_not({{{4096}, 2_MiB}}),
              "the memory region at 0x1000 of 0x200000 bytes does not start and end at multiples of 2 MiB");
    EXPECT_EQ(why_not({{{0}, 3_MiB}}),
              "the memory region at 0x0 of 0x300000 bytes does not start and end at multiples of 2 MiB");
    EXPECT_EQ(why_not({{{0}, 4_MiB}, {{(2_MiB).value}, 2_MiB}}),
              "the memory region at 0x200000 overlaps the one before it or is out of order");
    EXPECT_EQ(why_not({{high_start, 2_MiB}, {{0}, 2_MiB}}),
              "the memory region at 0x0 overlaps the one before it or is out of order");
    EXPECT_EQ(why_not({{{~0ULL - (2_MiB).value + 1}, 2_MiB}}),
              "the memory region at 0xffffffffffe00000 of 0x200000 bytes ends above 16 TiB");
    EXPECT_EQ(why_not({{{1ULL << 44}, 2_MiB}}),
              "the memory region at 0x100000000000 of 0x200000 bytes ends above 16 TiB");
}

TEST(GuestMemory, ALargeGuestCostsNothingAtFirst) {
    const auto memory = GuestMemory::create(layout(Backing::anonymous, {{{0}, 3_GiB}, {high_start, 509_GiB}}));
    ASSERT_TRUE(memory) << memory.error().message;
    EXPECT_EQ(memory->size(), 512_GiB);
    EXPECT_EQ(memory->address_space(), whole_pages_of(513_GiB));
    EXPECT_EQ(memory->resident(), 0_MiB);
}

TEST(GuestMemory, RegionsAreAlignedForHugePages) {
    const GuestMemory memory = three_regions();
    ASSERT_EQ(memory.regions().size(), 3U);
    for (const MappedRegion& region : memory.regions())
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(region.host) % (2_MiB).value, 0U);
}

TEST(GuestMemory, ReadsWhatWasWritten) {
    GuestMemory memory = three_regions();
    const auto bytes = pattern(10000);
    std::vector<std::byte> back(bytes.size());
    ASSERT_TRUE(memory.write({high_start.value + 123}, bytes));
    ASSERT_TRUE(memory.read({high_start.value + 123}, back));
    EXPECT_EQ(back, bytes);
    ASSERT_TRUE(memory.fill({high_start.value + 124}, {9998}, std::byte{0xee}));
    ASSERT_TRUE(memory.read({high_start.value + 123}, back));
    EXPECT_EQ(back.front(), bytes.front());
    EXPECT_EQ(back.back(), bytes.back());
    EXPECT_TRUE(std::all_of(back.begin() + 1, back.end() - 1, [](std::byte b) { return b == std::byte{0xee}; }));
}

TEST(GuestMemory, R8_AccessSpansAdjacentRegions) {
    GuestMemory memory = three_regions();
    const GuestAddress across{(4_MiB).value - 5000};
    const auto bytes = pattern(10000);
    std::vector<std::byte> back(bytes.size());
    ASSERT_TRUE(memory.write(across, bytes));
    ASSERT_TRUE(memory.read(across, back));
    EXPECT_EQ(back, bytes);
    EXPECT_TRUE(memory.contains(across, {10000}));
    EXPECT_FALSE(memory.span(across, {10000})) << "a span lies in one region";
    EXPECT_TRUE(memory.span(across, {5000}));
    ASSERT_TRUE(memory.fill(across, {10000}, std::byte{3}));
    ASSERT_TRUE(memory.read(across, back));
    EXPECT_TRUE(std::all_of(back.begin(), back.end(), [](std::byte b) { return b == std::byte{3}; }));
}

TEST(GuestMemory, R7_OutsideRamNothingIsCopied) {
    GuestMemory memory = three_regions();
    memory.write_log().start();
    std::array<std::byte, 64> ones;
    ones.fill(std::byte{1});
    const std::uint64_t end = (6_MiB).value;
    for (const std::uint64_t bad : std::initializer_list<std::uint64_t>{
             end, end - 63, end + 4096, high_start.value - 1, high_start.value - 64,
             high_start.value + (2_MiB).value - 63, 1ULL << 52, ~0ULL, ~0ULL - 63, ~0ULL - 62}) {
        std::array<std::byte, 64> back{};
        EXPECT_FALSE(memory.contains({bad}, {64})) << bad;
        EXPECT_FALSE(memory.write({bad}, ones)) << bad;
        EXPECT_FALSE(memory.fill({bad}, {64}, std::byte{1})) << bad;
        EXPECT_FALSE(memory.read({bad}, back)) << bad;
        EXPECT_FALSE(memory.span({bad}, {64})) << bad;
        EXPECT_TRUE(std::all_of(back.begin(), back.end(), [](std::byte b) { return b == std::byte{}; }));
    }
    EXPECT_FALSE(memory.contains({0}, {~0ULL}));
    EXPECT_FALSE(memory.contains({0}, {(6_MiB).value + 1}));
    EXPECT_FALSE(memory.fill({0}, {~0ULL}, std::byte{1})) << "reaches over the hole";
    memory.wrote({~0ULL}, {~0ULL});

    std::array<std::byte, 63> tail{};
    ASSERT_TRUE(memory.read({end - 63}, tail));
    EXPECT_TRUE(std::all_of(tail.begin(), tail.end(), [](std::byte b) { return b == std::byte{}; }));
    PageBitmap written(memory.address_space());
    memory.write_log().take(written);
    EXPECT_EQ(written.count(), 0_pages);
}

TEST(GuestMemory, R6_AnEmptyRangeIsRamAnywhere) {
    GuestMemory memory = three_regions();
    for (const std::uint64_t address : {std::uint64_t{0}, (6_MiB).value, ~std::uint64_t{0}}) {
        EXPECT_TRUE(memory.contains({address}, {0}));
        EXPECT_TRUE(memory.read({address}, {}));
        EXPECT_TRUE(memory.write({address}, {}));
        EXPECT_TRUE(memory.fill({address}, {0}, std::byte{1}));
        EXPECT_TRUE(memory.span({address}, {0}));
        memory.wrote({address}, {0});
    }
}

template <typename T>
void check_atomic(GuestMemory& memory) {
    const T value = static_cast<T>(0x8899aabbccddeeffULL);
    const std::uint64_t last = (6_MiB).value - sizeof(T);
    ASSERT_TRUE(memory.store<T>({last}, value));
    EXPECT_EQ(memory.load<T>({last}), value);
    EXPECT_FALSE(memory.load<T>({(6_MiB).value}));
    EXPECT_FALSE(memory.store<T>({(6_MiB).value}, value));
    EXPECT_FALSE(memory.load<T>({~0ULL - sizeof(T) + 1}));
    if (sizeof(T) > 1) {
        EXPECT_FALSE(memory.load<T>({last + 1}));
        EXPECT_FALSE(memory.store<T>({last - 1}, value));
        EXPECT_FALSE(memory.load<T>({~0ULL}));
    }
}

TEST(GuestMemory, AtomicAccessIsAlignedAndInRam) {
    GuestMemory memory = three_regions();
    check_atomic<std::uint8_t>(memory);
    check_atomic<std::uint16_t>(memory);
    check_atomic<std::uint32_t>(memory);
    check_atomic<std::uint64_t>(memory);
}

TEST(GuestMemory, TheWriteLogSeesEveryWayToWrite) {
    GuestMemory memory = three_regions();
    const auto bytes = pattern(4096);
    memory.write_log().start();
    ASSERT_TRUE(memory.write({100}, bytes));
    ASSERT_TRUE(memory.fill({10 * 4096}, {1}, std::byte{1}));
    ASSERT_TRUE(memory.store<std::uint16_t>({20 * 4096 + 4094}, 1));
    memory.wrote({30 * 4096 + 1}, {4096});
    memory.discard(std::array{PageRange{{40}, {3}}, PageRange{{frame_of(high_start)}, {1}}});
    PageBitmap written(memory.address_space());
    memory.write_log().take(written);
    std::vector<PageRange> runs;
    for (PageRange run = written.next_run({0}); run.count > 0_pages; run = written.next_run(run.end()))
        runs.push_back(run);
    EXPECT_EQ(runs,
              (std::vector<PageRange>{
                  {{0}, {2}}, {{10}, {1}}, {{20}, {1}}, {{30}, {2}}, {{40}, {3}}, {{frame_of(high_start)}, {1}}}));
}

TEST(GuestMemory, ZeroPagesAreTold) {
    auto memory = *GuestMemory::create({{{{0}, 4_MiB}}, Backing::anonymous});
    EXPECT_TRUE(memory.is_zero({3}));
    for (const std::uint64_t offset : {0U, 1U, 7U, 8U, 4088U, 4095U}) {
        const std::array one{std::byte{1}};
        ASSERT_TRUE(memory.write({3 * 4096 + offset}, one));
        EXPECT_FALSE(memory.is_zero({3})) << offset;
        EXPECT_TRUE(memory.is_zero({2}) && memory.is_zero({4})) << offset;
        ASSERT_TRUE(memory.fill({3 * 4096}, page_size, std::byte{0}));
        EXPECT_TRUE(memory.is_zero({3})) << offset;
    }
    EXPECT_FALSE(memory.is_zero({1024})) << "not RAM";
}

TEST(GuestMemory, TheMemfdIsSealed) {
    const auto memory = GuestMemory::create(layout(Backing::memfd, {{{0}, 2_MiB}, {high_start, 4_MiB}}));
    ASSERT_TRUE(memory) << memory.error().message;
    const int fd = memory->regions()[0].fd;
    EXPECT_EQ(memory->regions()[1].fd, fd);
    EXPECT_EQ(memory->regions()[1].fd_offset, 2_MiB);
    EXPECT_EQ(::fcntl(fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | F_SEAL_WRITE),
              F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    EXPECT_NE(::ftruncate(fd, 0), 0);
    EXPECT_NE(::ftruncate(fd, static_cast<off_t>((8_MiB).value)), 0);
    EXPECT_NE(::fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
    EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
}

TEST(GuestMemory, TheMemfdIsWhatOthersMap) {
    auto memory = GuestMemory::create(layout(Backing::memfd, {{{0}, 2_MiB}, {high_start, 2_MiB}})).value();
    const MappedRegion& high = memory.regions()[1];
    void* other = ::mmap(nullptr, high.guest.length.value, PROT_READ, MAP_SHARED, high.fd,
                         static_cast<off_t>(high.fd_offset.value));
    ASSERT_NE(other, MAP_FAILED);
    const auto bytes = pattern(100);
    ASSERT_TRUE(memory.write({high_start.value + 77}, bytes));
    EXPECT_EQ(std::memcmp(static_cast<std::byte*>(other) + 77, bytes.data(), bytes.size()), 0);
    memory.discard(std::array{PageRange{frame_of(high_start), {1}}});
    EXPECT_EQ(static_cast<std::byte*>(other)[77], std::byte{}) << "other mappers see the hole at once";
    ::munmap(other, high.guest.length.value);
}

TEST(GuestMemory, ItCanBeMoved) {
    GuestMemory first = three_regions();
    ASSERT_TRUE(first.store<std::uint32_t>({64}, 5));
    GuestMemory second = std::move(first);
    EXPECT_EQ(second.load<std::uint32_t>({64}), 5U);
    second = make({{{0}, 2_MiB}});
    EXPECT_EQ(second.load<std::uint32_t>({64}), 0U);
}

} // namespace
} // namespace aerate
