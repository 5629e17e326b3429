// The figures of memory against what the kernel says itself, for every backing and origin.
#include "base/testing/sanitized.hpp"
#include "base/testing/temporary_file.hpp"
#include "memory/guest_memory.hpp"
#include "memory/process_memory.hpp"

#include <gtest/gtest.h>

#include <sys/resource.h>

#include <fstream>
#include <sstream>

namespace aerate {
namespace {

using namespace literals;

struct Figures {
    ByteCount guest{};
    ByteCount others{};
};

/// Sums up smaps, written differently from the code under test.
Figures by_smaps(const GuestMemory& memory) {
    Figures figures;
    std::ifstream file("/proc/self/smaps");
    bool guest = false;
    for (std::string line; std::getline(file, line);) {
        std::istringstream words(line);
        std::string first;
        words >> first;
        if (const auto dash = first.find('-'); dash != first.npos && first.find(':') == first.npos) {
            const auto begin = std::stoull(first.substr(0, dash), nullptr, 16);
            guest = false;
            for (const MappedRegion& region : memory.regions()) {
                const auto host = reinterpret_cast<std::uintptr_t>(region.host);
                guest |= begin >= host && begin < host + region.guest.length.value;
            }
        }
        std::uint64_t kib = 0;
        if (first == "Rss:" && words >> kib)
            (guest ? figures.guest : figures.others) += ByteCount{kib << 10};
        if ((first == "Private_Hugetlb:" || first == "Shared_Hugetlb:") && guest && words >> kib)
            figures.guest += ByteCount{kib << 10};
    }
    return figures;
}

ByteCount resident_and_shared(const GuestMemory& memory) {
    return memory.resident() + memory.shared();
}

// A sanitizer maps memory of its own between the two looks.
constexpr std::uint64_t tolerance = sanitized ? 4U << 20 : 256U << 10;

void expect_close(ByteCount left, ByteCount right, const char* what) {
    const auto [less, more] = std::minmax(left.value, right.value);
    EXPECT_LE(more - less, tolerance) << what << ": " << left.value << " and " << right.value;
}

class MemoryFigures : public testing::TestWithParam<Backing> {};

TEST_P(MemoryFigures, C17_TheyAreWhatTheKernelSays) {
    auto memory = GuestMemory::create({{{{}, 32_MiB}}, GetParam()});
    if (!memory && GetParam() == Backing::hugetlb)
        GTEST_SKIP() << memory.error().message;
    ASSERT_TRUE(memory) << memory.error().message;
    for (std::uint64_t at = 0; at < (10_MiB).value; at += page_size.value)
        ASSERT_TRUE(memory->store(GuestAddress{at}, std::uint64_t{1}));
    const Figures truth = by_smaps(*memory);
    EXPECT_GE(truth.guest, 10_MiB);
    expect_close(resident_and_shared(*memory), truth.guest, "guest");
    expect_close(resident_outside(memory->regions()).value(), truth.others, "monitor");
    EXPECT_GT(resident_outside(memory->regions()).value(), 1_MiB);
}

INSTANTIATE_TEST_SUITE_P(Backings, MemoryFigures,
                         testing::Values(Backing::anonymous, Backing::memfd, Backing::hugetlb));

TEST(MemoryFiguresOfARestoredGuest, C17_WrittenSharedAndFreshPagesAreCountedOnce) {
    const TemporaryFile file((16_MiB).value);
    const std::string content((16_MiB).value, 'x');
    ASSERT_EQ(::pwrite(file.fd(), content.data(), content.size(), 0), static_cast<ssize_t>(content.size()));
    const FilePiece piece{.pages = {{0}, {4096}}, .fd = file.fd(), .offset = {}};
    for (const Backing backing : {Backing::anonymous, Backing::memfd}) {
        auto memory = GuestMemory::restore({{{{}, 32_MiB}}, backing}, {&piece, 1});
        ASSERT_TRUE(memory) << memory.error().message;
        // Read 8 MiB of the file, write 4 MiB of that, and 4 MiB that the file has not.
        for (std::uint64_t at = 0; at < (8_MiB).value; at += page_size.value)
            ASSERT_TRUE(memory->load<std::uint64_t>(GuestAddress{at}));
        for (std::uint64_t at = 0; at < (4_MiB).value; at += page_size.value) {
            ASSERT_TRUE(memory->store(GuestAddress{at}, std::uint64_t{1}));
            ASSERT_TRUE(memory->store(GuestAddress{at + (20_MiB).value}, std::uint64_t{1}));
        }
        const Figures truth = by_smaps(*memory);
        expect_close(resident_and_shared(*memory), truth.guest, "guest");
        expect_close(resident_outside(memory->regions()).value(), truth.others, "monitor");
        if (backing == Backing::anonymous) {
            EXPECT_EQ(memory->resident(), 8_MiB);
            EXPECT_GE(memory->shared(), 4_MiB);
        } else {
            EXPECT_EQ(memory->shared(), 0_MiB);
        }
    }
}

TEST(ResidentOutside, WhatCannotBeReadIsNotZero) {
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
    const auto resident = resident_outside({});
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_FALSE(resident);
    EXPECT_TRUE(resident_outside({}));
}

// The figure that is asked for all the time, against the walk.
TEST(ProcessMemory, WhatIsResidentAtMostIsNoLessAndNotMuchMore) {
    for (const Backing backing : {Backing::anonymous, Backing::memfd}) {
        auto memory = GuestMemory::create({.regions = {{{0}, 64_MiB}}, .backing = backing});
        ASSERT_TRUE(memory);
        const auto before = memory->resident_at_most();
        ASSERT_TRUE(before);
        ASSERT_TRUE(memory->fill({0}, 48_MiB, std::byte{1}));
        const auto after = memory->resident_at_most();
        ASSERT_TRUE(after);
        constexpr ByteCount lag{1U << 20}; // before Linux 6.2
        EXPECT_GE(*after + lag, memory->resident());
        EXPECT_LE(*after, memory->size());
        if (backing == Backing::memfd) {
            EXPECT_EQ(*after, 48_MiB) << "whatever the monitor itself has";
        }
    }
}

} // namespace
} // namespace aerate
