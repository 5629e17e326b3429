// Memory restored from files: lazily, privately, and gone when discarded.
#include "memory/guest_memory.hpp"
#include "memory/residency.hpp"
#include "memory/testing/page_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <random>
#include <thread>
#include <vector>

namespace aerate {
namespace {

using ::testing::HasSubstr;
using namespace aerate::testing;

class Restored : public ::testing::TestWithParam<Backing> {
protected:
    void SetUp() override {
        auto made = GuestMemory::restore({.regions = regions, .backing = GetParam()}, pieces);
        if (!made && GetParam() == Backing::hugetlb)
            GTEST_SKIP() << "SKIPPED: hugetlb is not tested: " << made.error().message;
        ASSERT_TRUE(made) << made.error().message;
        memory.emplace(*std::move(made));
    }
    void TearDown() override { EXPECT_TRUE(file.is_unchanged()); }

    PageFile file{1000};
    /// Over the border of the first two regions, and up to the end of the last.
    std::vector<FilePiece> pieces{file.piece(1, 3, 10), file.piece(1000, 100, 100), file.piece(1100, 1, 0),
                                  file.piece(high_first.value + 500, 12, 900)};
    std::optional<GuestMemory> memory;
};

TEST_P(Restored, HoldsWhatTheFileHolds) {
    EXPECT_EQ(read(*memory, {{0}, {1}}), zeros(1));
    EXPECT_EQ(read(*memory, {{1}, {3}}), file.pages(10, 3));
    EXPECT_EQ(read(*memory, {{4}, {996}}), zeros(996));
    EXPECT_EQ(read(*memory, {{1000}, {100}}), file.pages(100, 100));
    EXPECT_EQ(read(*memory, {{1100}, {1}}), file.pages(0, 1));
    EXPECT_EQ(read(*memory, {{high_first.value + 500}, {12}}), file.pages(900, 12));
    EXPECT_FALSE(memory->is_zero({1}));
    EXPECT_TRUE(memory->is_zero({4}));
}

TEST_P(Restored, WritesStayInTheGuest) {
    auto other = GuestMemory::restore({.regions = regions}, pieces).value();
    ASSERT_TRUE(memory->fill({0}, 4_MiB, std::byte{0xee}));
    EXPECT_EQ(read(*memory, {{1000}, {1}}), Bytes(4096, std::byte{0xee}));
    EXPECT_EQ(read(other, {{1}, {3}}), file.pages(10, 3)) << "another guest from the same file";
    EXPECT_EQ(read(other, {{0}, {1}}), zeros(1));
    EXPECT_TRUE(file.is_unchanged());
}

// The file's pages, the guest's own copies of them and anonymous pages, against an array.
TEST_P(Restored, G8_DiscardedPagesReadZero) {
    const std::uint64_t unit = memory->host_page_size().value / page_size.value;
    Bytes model((6_MiB).value);
    ASSERT_TRUE(memory->read({0}, model));
    std::minstd_rand random(3);
    for (int i = 0; i < 1500; ++i) {
        const std::uint64_t first = random() % (1500 / unit) * unit;
        const PageRange range{{first}, {(1 + random() % 8) * unit}};
        const auto begin = model.begin() + static_cast<std::ptrdiff_t>(address_of(range.first).value);
        const auto length = static_cast<std::ptrdiff_t>(
            std::min<std::uint64_t>(bytes_of(range.count).value, model.size() - address_of(range.first).value));
        if (random() % 2 == 0) {
            const std::array both{range, PageRange{{high_first.value + random() % 512}, {1}}};
            const auto result = memory->discard(both);
            ASSERT_EQ(result.system_error, 0);
            std::fill(begin, begin + length, std::byte{});
        } else {
            const auto value = static_cast<std::byte>(random());
            ASSERT_TRUE(memory->fill(address_of(range.first), {static_cast<std::uint64_t>(length)}, value));
            std::fill(begin, begin + length, value);
        }
        if (i % 100 == 0) {
            ASSERT_TRUE(read(*memory, {{0}, {1536}}) == model) << i;
        }
    }
    EXPECT_TRUE(read(*memory, {{0}, {1536}}) == model);
    memory->discard(std::array{PageRange{{0}, {~0ULL}}});
    EXPECT_TRUE(read(*memory, {{0}, {1536}}) == zeros(1536));
    EXPECT_TRUE(read(*memory, {high_first, {512}}) == zeros(512));
    ASSERT_TRUE(memory->fill({0}, 6_MiB, std::byte{1}));
    memory->discard(std::array{PageRange{{0}, {~0ULL}}});
    EXPECT_EQ(memory->resident(), 0_MiB);
    EXPECT_EQ(mappings_of(file), 0U);
    EXPECT_TRUE(read(*memory, {{0}, {1536}}) == zeros(1536)) << "touched again and discarded again";
}

TEST_P(Restored, PopulatedPagesAreAllThatHoldSomething) {
    ASSERT_TRUE(memory->fill({(2_MiB).value}, 4_KiB, std::byte{1}));
    if (memory->host_page_size() == page_size)
        memory->discard(std::array{PageRange{{2}, {1}}, PageRange{{1050}, {1}}});
    PageBitmap populated(memory->address_space());
    memory->collect_populated(populated);
    for (const FrameNumber end : {FrameNumber{1536}, FrameNumber{high_first.value + 512}}) {
        for (FrameNumber frame{end.value - 512}; frame < end; ++frame.value)
            EXPECT_TRUE(populated.test(frame) || memory->is_zero(frame)) << frame.value;
    }
    EXPECT_EQ(populated.test({high_first.value}), GetParam() == Backing::hugetlb)
        << "nobody touched that, but a huge page is populated as a whole";
    EXPECT_TRUE(populated.test({3}) && populated.test({512}) && populated.test({1000}));
}

/// What a file still has would be read from the disk by whoever reads it.
TEST_P(Restored, OwnPagesAreThoseThatTheGuestHasWritten) {
    EXPECT_EQ(read(*memory, {{1000}, {100}}), file.pages(100, 100)) << "the page cache has these now";
    ASSERT_TRUE(memory->fill(address_of({1010}), bytes_of({2}), std::byte{1}));
    PageBitmap asked(memory->address_space());
    asked.set({{0}, {1011}});
    PageBitmap own(memory->address_space());
    memory->collect_resident(own, &asked);
    EXPECT_TRUE(own.test({1010}));
    EXPECT_FALSE(own.test({1011})) << "it was not asked for";
    if (GetParam() == Backing::anonymous) { // the others hold copies of it all
        EXPECT_EQ(own.count(), PageCount{1});
    }
}

INSTANTIATE_TEST_SUITE_P(Memory, Restored, ::testing::Values(Backing::anonymous, Backing::memfd, Backing::hugetlb),
                         [](const auto& instance) {
                             return instance.param == Backing::anonymous ? "Anonymous"
                                    : instance.param == Backing::memfd   ? "Memfd"
                                                                         : "Hugetlb";
                         });

std::string why_not(std::vector<FilePiece> pieces) {
    const auto memory = GuestMemory::restore({.regions = regions}, pieces);
    return memory ? "it works" : memory.error().message;
}

TEST(Restore, BadPiecesAreRefusedWithTheReason) {
    const PageFile file(10);
    EXPECT_EQ(why_not({file.piece(0, 10, 0)}), "it works");
    EXPECT_THAT(why_not({file.piece(0, 11, 0)}), HasSubstr("ends at 40960"));
    EXPECT_THAT(why_not({file.piece(0, 1, 10)}), HasSubstr("ends at 40960"));
    EXPECT_THAT(why_not({file.piece(0, 1, 1ULL << 51)}), HasSubstr("ends at 40960"));
    EXPECT_THAT(why_not({file.piece(0, 0, 0)}), HasSubstr("is empty"));
    EXPECT_THAT(why_not({file.piece(0, ~0ULL, 0)}), HasSubstr("not all in RAM"));
    EXPECT_THAT(why_not({file.piece(5, ~0ULL, 0)}), HasSubstr("is empty"));
    EXPECT_THAT(why_not({file.piece(1535, 2, 0)}), HasSubstr("not all in RAM"));
    EXPECT_THAT(why_not({file.piece(high_first.value - 1, 2, 0)}), HasSubstr("not all in RAM"));
    EXPECT_THAT(why_not({file.piece(3, 1, 0), file.piece(2, 1, 0)}), HasSubstr("out of order"));
    EXPECT_THAT(why_not({file.piece(3, 2, 0), file.piece(4, 1, 0)}), HasSubstr("overlaps"));
    EXPECT_THAT(why_not({{.pages = {{0}, {1}}, .fd = file.fd(), .offset = {1}}}), HasSubstr("no page begins"));
    EXPECT_THAT(why_not({{.pages = {{0}, {1}}, .fd = -1, .offset = {0}}}), HasSubstr("cannot inspect the file"));
}

TEST(Restore, OnlyPagesOfTheGuestsOwnAreItsCost) {
    const PageFile file(1000);
    auto memory = GuestMemory::restore({.regions = regions}, std::array{file.piece(0, 1000, 0)}).value();
    const auto resident_by = [&](Residency::Method method) {
        return Residency(Backing::anonymous, memory.regions(), method).total();
    };
    EXPECT_EQ(memory.resident(), 0_MiB);
    static_cast<void>(read(memory, {{0}, {1000}}));
    EXPECT_EQ(memory.resident(), 0_MiB) << "clean pages are everybody's";
    EXPECT_EQ(resident_by(Residency::Method::pagemap), 0_MiB);
    for (const std::uint64_t frame : {3U, 4U, 900U})
        ASSERT_TRUE(memory.store<std::uint64_t>(address_of({frame}), 1));
    EXPECT_EQ(memory.resident(), 12_KiB);
    EXPECT_EQ(resident_by(Residency::Method::pagemap), 12_KiB);
    EXPECT_GE(resident_by(Residency::Method::mincore), 12_KiB) << "says too much, never too little";
    PageBitmap some(memory.address_space());
    some.set({{4}, {100}});
    EXPECT_EQ(memory.resident_within(some), 1_pages);
    memory.discard(std::array{PageRange{{0}, {4}}});
    EXPECT_EQ(memory.resident(), 8_KiB);
}

TEST(Restore, TouchedAndPrefetchedPagesAreKnown) {
    const PageFile file(1000);
    auto memory = GuestMemory::restore({.regions = regions}, std::array{file.piece(100, 1000, 0)}).value();
    const auto touched = [&] {
        PageBitmap pages(memory.address_space());
        memory.collect_touched(pages);
        return pages.count();
    };
    EXPECT_EQ(touched(), 0_pages);
    static_cast<void>(read(memory, {{0}, {100}}));
    EXPECT_EQ(touched(), 0_pages) << "not the file's";
    // Not every kernel maps its one page of zeros where memory is read that nobody has written.
    const ByteCount cost_of_reading = memory.resident();
    EXPECT_FALSE(memory.is_zero({500}));
    EXPECT_GE(touched(), 1_pages);
    EXPECT_LE(touched(), 16_pages) << "what the kernel maps around a fault";
    memory.prefetch(std::array{PageRange{{600}, {64}}, PageRange{{~0ULL}, {~0ULL}}, PageRange{{0}, {100}}});
    EXPECT_GE(touched(), 64_pages);
    EXPECT_EQ(memory.resident(), cost_of_reading) << "the file's pages are the page cache's";
    memory.prefetch(std::array{PageRange{{0}, {1ULL << 40}}});
    EXPECT_EQ(touched(), 1000_pages);
    memory.discard(std::array{PageRange{{100}, {300}}});
    ASSERT_TRUE(memory.fill(address_of({100}), {1}, std::byte{1}));
    EXPECT_EQ(touched(), 700_pages) << "no longer the file's";
}

TEST(Restore, ManySmallPiecesAreReadTheLargeOnesMapped) {
    const PageFile file(4);
    std::vector<FilePiece> pieces;
    for (std::uint64_t i = 0; i < GuestMemory::mapped_pieces_max + 1000; ++i)
        pieces.push_back(file.piece(4 * i, i % 2 + 1, i % 3));
    const auto memory = GuestMemory::restore({.regions = {{{0}, 128_MiB}}}, pieces).value();
    EXPECT_LE(mappings_of(file), GuestMemory::mapped_pieces_max);
    EXPECT_GE(mappings_of(file), GuestMemory::mapped_pieces_max / 2);
    for (const FilePiece& piece : pieces) {
        ASSERT_EQ(read(memory, piece.pages), file.pages(whole_pages_of(piece.offset).value, piece.pages.count.value));
        ASSERT_TRUE(memory.is_zero(piece.pages.end()));
    }
    EXPECT_LE(memory.resident(), bytes_of({pieces.size() * 2})) << "no huge page for a small piece";
}

TEST(Restore, ReplacedMemoryIsAsTheRestOfAnonymousMemory) {
    const PageFile file(1000);
    auto memory = GuestMemory::restore({.regions = regions}, std::array{file.piece(0, 1000, 0)}).value();
    const std::byte* const host = memory.regions()[0].host;
    const std::string anonymous = flags_of(memory.regions()[1].host);
    EXPECT_THAT(anonymous, HasSubstr(" dd ")); // MADV_DONTDUMP
    EXPECT_THAT(anonymous, HasSubstr(" dc ")); // MADV_DONTFORK
    EXPECT_THAT(flags_of(host), HasSubstr(" dd "));
    EXPECT_THAT(flags_of(host), HasSubstr(" dc "));
    memory.discard(std::array{PageRange{{10}, {5}}});
    EXPECT_EQ(flags_of(host + (10 * page_size.value)), anonymous);
    EXPECT_EQ(mappings_of(file), 2U);
}

TEST(Restore, OthersMayWriteNearbyWhileADiscardReplacesMappings) {
    const PageFile file(1000);
    auto memory = GuestMemory::restore({.regions = regions}, std::array{file.piece(0, 1000, 0)}).value();
    std::atomic<bool> stop{false};
    std::uint64_t lost = 0;
    std::thread writer([&] {
        for (std::uint64_t value = 1; !stop.load(); ++value) {
            for (const std::uint64_t frame : {201U, 403U, 605U}) {
                static_cast<void>(memory.store<std::uint64_t>(address_of({frame}), value));
                lost += memory.load<std::uint64_t>(address_of({frame})) == value ? 0U : 1U;
            }
        }
    });
    for (std::uint64_t frame = 0; frame < 1000; frame += 2)
        EXPECT_EQ(memory.discard(std::array{PageRange{{frame}, {1}}}).discarded, 1_pages);
    stop = true;
    writer.join();
    EXPECT_EQ(lost, 0U);
}

} // namespace
} // namespace aerate
