// Memory restored from files that are cut short or written to, on a host that refuses mappings.
#include "base/testing/refusing_host.hpp"
#include "base/testing/sanitized.hpp"
#include "memory/guest_memory.hpp"
#include "memory/testing/page_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <sys/mman.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

namespace aerate {
namespace {

using namespace aerate::testing;

TEST(Restore, S6_AFileThatIsCutShortIsALossAndNoSignal) {
    if (thread_sanitized)
        GTEST_SKIP() << "SKIPPED: ThreadSanitizer does not survive SIGBUS in an atomic access";
    const PageFile cut(100);
    const PageFile whole(100);
    auto memory =
        GuestMemory::restore({.regions = regions}, std::array{cut.piece(0, 100, 0), whole.piece(600, 100, 0)}).value();
    ASSERT_TRUE(memory.store<std::uint64_t>(address_of({3}), 7));
    ASSERT_TRUE(memory.store<std::uint64_t>(address_of({200}), 7));
    EXPECT_FALSE(memory.lost());
    std::uint64_t losses = 0;
    EXPECT_EQ(::read(memory.loss_event(), &losses, sizeof(losses)), -1) << "nobody has met one";

    ASSERT_EQ(::ftruncate(cut.fd(), static_cast<off_t>(10 * page_size.value)), 0);
    EXPECT_TRUE(memory.lost()) << "the file shows it before anybody meets it";
    EXPECT_EQ(read(memory, {{50}, {2}}), zeros(2));
    EXPECT_TRUE(memory.store<std::uint64_t>(address_of({60}), 1));
    EXPECT_EQ(::read(memory.loss_event(), &losses, sizeof(losses)), 8);
    EXPECT_EQ(losses, 3U);

    EXPECT_EQ(memory.load<std::uint64_t>(address_of({3})), 7U) << "what was not lost is still there";
    EXPECT_EQ(memory.load<std::uint64_t>(address_of({200})), 7U);
    EXPECT_EQ(read(memory, {{600}, {100}}), whole.pages(0, 100));
    EXPECT_EQ(read(memory, {{4}, {6}}), cut.pages(4, 6));
    const std::array all{PageRange{{0}, {700}}};
    EXPECT_EQ(memory.discard(all).discarded, 700_pages);
    EXPECT_EQ(read(memory, {{0}, {700}}), zeros(700));
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

TEST(Restore, S6_WhoWantsToWriteWaitsUntilTheMemoryIsGivenUp) {
    std::string path = std::filesystem::temp_directory_path() / "aerate-leased.XXXXXX";
    {
        const FileDescriptor made(::mkostemp(path.data(), O_CLOEXEC));
        ASSERT_TRUE(made.valid());
        const std::vector<char> content(bytes_of({10}).value, 'a');
        ASSERT_EQ(::write(made.get(), content.data(), content.size()), static_cast<ssize_t>(content.size()));
    }
    const FileDescriptor reader(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    // Not taken here: whoever takes it must have a handler for SIGIO.
    auto memory = GuestMemory::restore({.regions = regions},
                                       std::array{FilePiece{.pages = {{0}, {10}}, .fd = reader.get(), .offset = {0}}})
                      .value();
    if (::fcntl(reader.get(), F_GETLEASE) != F_RDLCK)
        GTEST_SKIP() << "SKIPPED: this file system has no leases";
    EXPECT_FALSE(memory.lost());
    // O_NONBLOCK: does not wait, and says so (open(2)); the lease is broken all the same.
    EXPECT_EQ(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC), -1);
    EXPECT_EQ(errno, EWOULDBLOCK);
    std::uint64_t events = 0;
    EXPECT_EQ(::read(memory.loss_event(), &events, sizeof(events)), 8);
    EXPECT_TRUE(memory.lost());
    EXPECT_EQ(memory.load<std::uint8_t>({0}), 'a') << "nothing has happened to it yet";
    memory.give_up_files();
    EXPECT_TRUE(memory.lost());
    const FileDescriptor writer(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    EXPECT_TRUE(writer.valid()) << "nobody is held up for longer";
    ::unlink(path.c_str());
}

TEST(Restore, S6_ALossIsNoticedWhereNoPageCanBeReplacedAlone) {
    if (sanitized)
        GTEST_SKIP() << "SKIPPED: a sanitizer needs mappings for itself";
    const PageFile file(512);
    auto memory = GuestMemory::restore({.regions = regions}, std::array{file.piece(0, 512, 0)}).value();
    ASSERT_EQ(::ftruncate(file.fd(), 0), 0);
    const NoMoreMappings none;
    if (!none.exhausted)
        GTEST_SKIP() << "SKIPPED: vm.max_map_count is not reached";
    EXPECT_EQ(memory.load<std::uint64_t>(address_of({100})), 0U);
    EXPECT_TRUE(memory.lost());
}

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

/// Before Linux 6.9 the kernel has unmapped the pages when it refuses to map others there.
TEST(Restore, C19_a_refused_discard_leaves_no_hole) {
    const PageFile file(1000);
    auto memory = GuestMemory::restore({.regions = regions}, std::array{file.piece(0, 1000, 0)}).value();
    const Bytes before = read(memory, {{99}, {1}});
    {
        const testing::RefusingHost host(1, testing::RefusingHost::For::once);
        EXPECT_EQ(memory.discard(std::array{PageRange{{100}, {3}}}).discarded, 3_pages);
        EXPECT_TRUE(host.refused());
    }
    EXPECT_EQ(read(memory, {{99}, {1}}), before);
    EXPECT_EQ(read(memory, {{100}, {3}}), zeros(3));
    // A host that keeps what was there: the discard is skipped.
    const Bytes kept = read(memory, {{200}, {3}});
    {
        const testing::RefusingHost host(1, testing::RefusingHost::For::good);
        const auto result = memory.discard(std::array{PageRange{{200}, {3}}});
        EXPECT_EQ(result.skipped, 3_pages);
        EXPECT_EQ(result.system_error, ENOMEM);
    }
    EXPECT_EQ(read(memory, {{200}, {3}}), kept);
}

TEST(RestoreDeathTest, C19_pages_that_are_gone_for_good_end_the_process_with_a_message) {
    if (sanitized)
        GTEST_SKIP() << "SKIPPED: a sanitizer's own threads do not survive the fork";
    const PageFile file(1000);
    auto memory = GuestMemory::restore({.regions = regions}, std::array{file.piece(0, 1000, 0)}).value();
    EXPECT_DEATH(
        {
            host::refuse_requests(1, 2, host::RefusedMapping::unmaps);
            (void)memory.discard(std::array{PageRange{{100}, {3}}});
        },
        "guest memory");
}

TEST(Restore, S4_whatever_the_host_refuses_is_an_error_and_leaves_nothing) {
    const PageFile file(1000);
    const std::size_t descriptors = testing::open_descriptors();
    for (const Backing backing : {Backing::anonymous, Backing::memfd}) {
        const auto refused = testing::for_each_refusal(
            testing::RefusingHost::For::once,
            [&] {
                return GuestMemory::restore({.regions = regions, .backing = backing},
                                            std::array{file.piece(0, 1000, 0)});
            },
            [&](auto& result, std::uint64_t) {
                result = fail("dropped");
                EXPECT_TRUE(testing::descriptors_fall_to(descriptors));
            });
        EXPECT_GT(refused, 2U);
    }
}

} // namespace
} // namespace aerate
