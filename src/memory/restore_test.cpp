// Memory restored from files: lazily, privately, and gone when discarded.
#include "base/testing/sanitized.hpp"
#include "memory/file_backing.hpp"
#include "memory/guest_memory.hpp"
#include "memory/mapping.hpp"
#include "memory/residency.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>
#include <vector>

namespace aerate {
namespace {

using namespace literals;
using ::testing::HasSubstr;
using Bytes = std::vector<std::byte>;

constexpr GuestAddress high_start{(4_GiB).value};
constexpr FrameNumber high_first = frame_of(high_start);
const std::vector<MemoryRegion> regions{{{0}, 4_MiB}, {{(4_MiB).value}, 2_MiB}, {high_start, 2_MiB}};

/// O_TMPFILE would do, but not every file system has it.
FileDescriptor open_without_name() {
    std::string path = std::filesystem::temp_directory_path() / "aerate-pages.XXXXXX";
    FileDescriptor file(::mkostemp(path.data(), O_CLOEXEC));
    EXPECT_TRUE(file.valid()) << path;
    ::unlink(path.c_str());
    return file;
}

/// A file of whole pages without a name, each with content of its own.
class PageFile {
public:
    explicit PageFile(std::size_t pages)
        : content(pages * page_size.value)
        , file_(open_without_name()) {
        for (std::size_t i = 0; i < content.size(); ++i)
            content[i] = static_cast<std::byte>(i * 7 + i / page_size.value * 13 + 1);
        EXPECT_EQ(::pwrite(fd(), content.data(), content.size(), 0), static_cast<ssize_t>(content.size()));
    }
    [[nodiscard]] int fd() const { return file_.get(); }
    [[nodiscard]] bool is_unchanged() const {
        Bytes now(content.size());
        return ::pread(fd(), now.data(), now.size(), 0) == static_cast<ssize_t>(now.size()) && now == content;
    }
    /// `count` pages of memory from `first` on hold what the file has from page `from` on.
    [[nodiscard]] FilePiece piece(std::uint64_t first, std::uint64_t count, std::uint64_t from) const {
        return {.pages = {{first}, {count}}, .fd = fd(), .offset = bytes_of({from})};
    }
    [[nodiscard]] Bytes pages(std::uint64_t from, std::uint64_t count) const {
        return {content.begin() + static_cast<std::ptrdiff_t>(bytes_of({from}).value),
                content.begin() + static_cast<std::ptrdiff_t>(bytes_of({from + count}).value)};
    }

private:
    Bytes content;
    FileDescriptor file_;
};

Bytes read(const GuestMemory& memory, PageRange range) {
    Bytes bytes(bytes_of(range.count).value);
    EXPECT_TRUE(memory.read(address_of(range.first), bytes));
    return bytes;
}

Bytes zeros(std::uint64_t pages) {
    return Bytes(bytes_of({pages}).value);
}

/// How often the file is in the process's list of mappings.
std::size_t mappings_of(const PageFile& file) {
    struct stat status{};
    EXPECT_EQ(::fstat(file.fd(), &status), 0);
    const std::string inode = " " + std::to_string(status.st_ino) + " ";
    std::ifstream maps("/proc/self/maps");
    std::size_t count = 0;
    for (std::string line; std::getline(maps, line);)
        count += line.find(inode) != std::string::npos ? 1U : 0U;
    return count;
}

/// Of the mapping that holds the address.
std::string flags_of(const std::byte* address) {
    std::ifstream smaps("/proc/self/smaps");
    const auto wanted = reinterpret_cast<std::uintptr_t>(address);
    bool here = false;
    for (std::string line; std::getline(smaps, line);) {
        std::uintptr_t start = 0;
        std::uintptr_t end = 0;
        if (std::sscanf(line.c_str(), "%lx-%lx ", &start, &end) == 2)
            here = wanted >= start && wanted < end;
        else if (here && line.starts_with("VmFlags:"))
            return line + " ";
    }
    return "not mapped";
}

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
    EXPECT_THAT(why_not({{.pages = {{0}, {1}}, .fd = -1, .offset = {0}}}), HasSubstr("cannot look at the file"));
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
    EXPECT_FALSE(memory.is_zero({500}));
    EXPECT_GE(touched(), 1_pages);
    EXPECT_LE(touched(), 16_pages) << "what the kernel maps around a fault";
    memory.prefetch(std::array{PageRange{{600}, {64}}, PageRange{{~0ULL}, {~0ULL}}, PageRange{{0}, {100}}});
    EXPECT_GE(touched(), 64_pages);
    EXPECT_EQ(memory.resident(), 0_MiB);
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

/// Takes mappings until there are no more.
class NoMoreMappings {
public:
    NoMoreMappings() {
        base_ = static_cast<std::byte*>(
            ::mmap(nullptr, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        for (std::size_t offset = 0; offset < length; offset += 2 * page_size.value) {
            if (::mprotect(base_ + offset, page_size.value, PROT_READ) != 0) {
                exhausted = true;
                break;
            }
        }
    }
    NoMoreMappings(const NoMoreMappings&) = delete;
    NoMoreMappings& operator=(const NoMoreMappings&) = delete;
    ~NoMoreMappings() { ::munmap(base_, length); }
    bool exhausted = false;

private:
    static constexpr std::size_t length = 1U << 30;
    std::byte* base_;
};

TEST(Restore, WithoutMappingsADiscardIsSkippedAndNothingIsLost) {
    if (sanitized)
        GTEST_SKIP() << "SKIPPED: a sanitizer needs mappings for itself";
    const PageFile file(1000);
    auto memory = GuestMemory::restore({.regions = regions}, std::array{file.piece(0, 1000, 0)}).value();
    ASSERT_TRUE(memory.store<std::uint64_t>(address_of({101}), 5));
    const Bytes before = read(memory, {{100}, {3}});
    {
        const NoMoreMappings none;
        if (!none.exhausted)
            GTEST_SKIP() << "SKIPPED: vm.max_map_count is not reached";
        const auto result = memory.discard(std::array{PageRange{{100}, {3}}, PageRange{{1200}, {8}}});
        EXPECT_EQ(result.system_error, ENOMEM);
        EXPECT_EQ(result.skipped, 3_pages);
        EXPECT_EQ(result.discarded, 8_pages) << "what needs no mapping goes on";
        EXPECT_EQ(read(memory, {{100}, {3}}), before);
    }
    const auto again = memory.discard(std::array{PageRange{{100}, {3}}});
    EXPECT_EQ(again.discarded, 3_pages);
    EXPECT_EQ(read(memory, {{100}, {3}}), zeros(3));
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
