// Guest memory that is another process's files: mapped, discarded and measured in place, and cut short under us.
#include "base/fd.hpp"
#include "memory/guest_memory.hpp"
#include "memory/page_bitmap.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/stat.h>

#include <array>
#include <cstring>

namespace aerate {
namespace {

using namespace literals;

FileDescriptor file_of(ByteCount size) {
    FileDescriptor file(::memfd_create("shared", MFD_CLOEXEC));
    EXPECT_EQ(::ftruncate(file.get(), static_cast<off_t>(size.value)), 0);
    return file;
}

std::byte byte_of(const FileDescriptor& file, std::uint64_t offset) {
    std::byte value{};
    EXPECT_EQ(::pread(file.get(), &value, 1, static_cast<off_t>(offset)), 1);
    return value;
}

void fill(const FileDescriptor& file, std::uint64_t offset, std::size_t length) {
    const std::vector<std::byte> bytes(length, std::byte{0xab});
    ASSERT_EQ(::pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes.size()));
}

bool read_at(const GuestMemory& memory, std::uint64_t address) {
    std::array<std::byte, 1> byte{};
    return memory.read({address}, byte);
}

TEST(SharedMemory, MapsAFileFromAnOffsetThatIsNoHugePage) {
    const FileDescriptor file = file_of(64_MiB);
    const auto memory = GuestMemory::share(std::array{SharedRegion{{{0xaa8000}, 3_MiB}, file.get(), {0x1000}}});
    ASSERT_TRUE(memory) << memory.error().message;
    fill(file, 0x1000, 1);
    std::array<std::byte, 1> byte{};
    ASSERT_TRUE(memory->read({0xaa8000}, byte));
    EXPECT_EQ(byte[0], std::byte{0xab});
    EXPECT_FALSE(read_at(*memory, 0xaa7fff));
    EXPECT_FALSE(read_at(*memory, 0xaa8000 + (3U << 20)));
}

TEST(SharedMemory, MakingItDiscardsNothing) {
    const FileDescriptor file = file_of(2_MiB);
    fill(file, 0, 2U << 20);
    const auto memory = GuestMemory::share(std::array{SharedRegion{{{0}, 2_MiB}, file.get(), {0}}});
    ASSERT_TRUE(memory);
    EXPECT_EQ(memory->resident(), 2_MiB);
    EXPECT_EQ(byte_of(file, 0), std::byte{0xab});
}

TEST(SharedMemory, DiscardsInTheFileAndNeverBeyondTheRegion) {
    const FileDescriptor file = file_of(1_MiB);
    fill(file, 0, 1U << 20);
    auto memory = GuestMemory::share(std::array{SharedRegion{{{0x10000}, {0x4000}}, file.get(), {0x2000}}});
    ASSERT_TRUE(memory);
    const std::array ranges{PageRange{{0}, {1U << 20}}, PageRange{{0x12}, {1}}};
    EXPECT_EQ(memory->discard(ranges).discarded, 4_pages);
    EXPECT_EQ(byte_of(file, 0x1fff), std::byte{0xab});
    EXPECT_EQ(byte_of(file, 0x2000), std::byte{0});
    EXPECT_EQ(byte_of(file, 0x5fff), std::byte{0});
    EXPECT_EQ(byte_of(file, 0x6000), std::byte{0xab});
    struct stat status{};
    ASSERT_EQ(::fstat(file.get(), &status), 0);
    EXPECT_EQ(status.st_size, 1 << 20);
}

TEST(SharedMemory, CountsAFileOfSeveralRegionsOnce) {
    const FileDescriptor file = file_of(1_MiB);
    fill(file, 0, 0x3000);
    const FileDescriptor same(::dup(file.get()));
    const auto memory = GuestMemory::share(std::array{SharedRegion{{{0x100000}, {0x1000}}, file.get(), {0x1000}},
                                                      SharedRegion{{{0}, {0x1000}}, same.get(), {0}}});
    ASSERT_TRUE(memory);
    EXPECT_EQ(memory->resident(), ByteCount{0x3000});
    EXPECT_EQ(memory->size(), ByteCount{0x2000});
}

TEST(SharedMemory, RefusesRegionsThatOverlapOrAreNotWholePagesOrLieBeyondTheirFile) {
    const FileDescriptor file = file_of(1_MiB);
    const int fd = file.get();
    const auto refused = [](std::initializer_list<SharedRegion> regions) {
        return !GuestMemory::share(std::span(regions.begin(), regions.size()));
    };
    EXPECT_TRUE(refused({}));
    EXPECT_TRUE(refused({{{{0}, {0}}, fd, {0}}}));
    EXPECT_TRUE(refused({{{{0x800}, {0x1000}}, fd, {0}}}));
    EXPECT_TRUE(refused({{{{0}, {0x1800}}, fd, {0}}}));
    EXPECT_TRUE(refused({{{{0}, {0x1000}}, fd, {0x800}}}));
    EXPECT_TRUE(refused({{{{0}, 2_MiB}, fd, {0}}}));
    EXPECT_TRUE(refused({{{{0}, {0x1000}}, fd, 1_MiB}}));
    EXPECT_TRUE(refused({{{{0}, {0x1000}}, fd, {~0xfffULL}}}));
    EXPECT_TRUE(refused({{{{1ULL << 44}, {0x1000}}, fd, {0}}}));
    EXPECT_TRUE(refused({{{{~0xfffULL}, {0x2000}}, fd, {0}}}));
    EXPECT_TRUE(refused({{{{0}, {0x2000}}, fd, {0}}, {{{0x1000}, {0x1000}}, fd, {0}}}));
}

TEST(SharedMemory, HasWithinASetOfPagesWhatIsInTheFileThere) {
    const FileDescriptor file = file_of(4_MiB);
    auto memory = GuestMemory::share(std::array{SharedRegion{{{1U << 20}, 2_MiB}, file.get(), 1_MiB}});
    ASSERT_TRUE(memory);
    fill(file, 0, 0x1000); // not in the region
    fill(file, (1U << 20) + 0x3000, 0x2000);
    fill(file, (1U << 20) + 0x9000, 0x1000);
    fill(file, 3U << 20, 0x1000); // nor is this
    PageBitmap all(memory->address_space());
    all.set({{0}, memory->address_space()});
    EXPECT_EQ(memory->resident_within(all), 3_pages);
    PageBitmap some(memory->address_space());
    some.set({{256 + 4}, {100}});
    EXPECT_EQ(memory->resident_within(some), 2_pages);
    EXPECT_EQ(memory->resident_within(PageBitmap(memory->address_space())), 0_pages);
}

TEST(SharedMemory, OfHugePagesOnlyTheirNumberIsKnown) {
    const FileDescriptor file(::memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB));
    if (!file.valid() || ::ftruncate(file.get(), 8 << 20) != 0 || ::fallocate(file.get(), 0, 0, 2 << 20) != 0)
        GTEST_SKIP() << "SKIPPED: no huge page is reserved in /proc/sys/vm/nr_hugepages";
    auto memory = GuestMemory::share(std::array{SharedRegion{{{0}, 8_MiB}, file.get(), {0}}});
    ASSERT_TRUE(memory);
    PageBitmap all(memory->address_space());
    all.set({{0}, memory->address_space()});
    EXPECT_EQ(memory->resident_within(all), 512_pages);
    PageBitmap empty_ones(memory->address_space());
    empty_ones.set({{512}, {3 * 512}});
    EXPECT_EQ(memory->resident_within(empty_ones), 0_pages);
}

TEST(SharedMemory, RefusesWhatIsNotARegularFile) {
    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe(pipe.data()), 0);
    const FileDescriptor reader(pipe[0]);
    const FileDescriptor writer(pipe[1]);
    EXPECT_FALSE(GuestMemory::share(std::array{SharedRegion{{{0}, {0x1000}}, reader.get(), {0}}}));
    EXPECT_FALSE(GuestMemory::share(std::array{SharedRegion{{{0}, {0x1000}}, -1, {0}}}));
}

TEST(SharedMemory, SurvivesAFileThatIsCutShortAndLosesOnlyThatGuest) {
    const FileDescriptor file = file_of(1_MiB);
    const FileDescriptor other_file = file_of(1_MiB);
    auto memory = GuestMemory::share(std::array{SharedRegion{{{0}, 1_MiB}, file.get(), {0}}});
    auto other = GuestMemory::share(std::array{SharedRegion{{{0}, 1_MiB}, other_file.get(), {0}}});
    ASSERT_TRUE(memory && other);
    ASSERT_TRUE(memory->fill({0}, 1_MiB, std::byte{1}) && other->fill({0}, 1_MiB, std::byte{2}));
    EXPECT_FALSE(memory->lost());

    ASSERT_EQ(::ftruncate(file.get(), 0x1000), 0);
    std::array<std::byte, 2> bytes{std::byte{7}, std::byte{7}};
    EXPECT_TRUE(memory->read({0x8000}, bytes));
    EXPECT_EQ(bytes[0], std::byte{0});
    EXPECT_TRUE(memory->lost());
    EXPECT_TRUE(memory->write({0x9000}, bytes));
    const std::array all{PageRange{{0}, {256}}};
    ASSERT_EQ(::ftruncate(file.get(), 1 << 20), 0);
    fill(file, 0, 1U << 20);
    EXPECT_EQ(memory->discard(all).skipped, 256_pages);
    EXPECT_EQ(memory->discard(std::array{PageRange{{3}, {1}}}).skipped, 1_pages);
    EXPECT_EQ(byte_of(file, 0x3000), std::byte{0xab}) << "a hole in a file that is not mapped any more";

    EXPECT_FALSE(other->lost());
    ASSERT_TRUE(other->read({0x8000}, bytes));
    EXPECT_EQ(bytes[0], std::byte{2});
}

TEST(SharedMemoryDeathTest, AnyOtherBusErrorStillEndsTheProcess) {
    const FileDescriptor file = file_of(1_MiB);
    const auto memory = GuestMemory::share(std::array{SharedRegion{{{0}, 1_MiB}, file.get(), {0}}});
    ASSERT_TRUE(memory);
    EXPECT_DEATH(
        {
            const FileDescriptor mine = file_of({0x1000});
            const auto* mapped =
                static_cast<const volatile char*>(::mmap(nullptr, 0x2000, PROT_READ, MAP_SHARED, mine.get(), 0));
            static_cast<void>(mapped[0x1000]);
        },
        "");
}

} // namespace
} // namespace aerate
