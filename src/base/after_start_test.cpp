#include "base/after_start.hpp"
#include "base/fd.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace aerate {
namespace {

// Far more than what the kernel maps on one fault: 64 KiB, or the whole folio of the page cache.
constexpr std::size_t size = std::size_t{8} << 20;
constexpr std::size_t page = 4096;
alignas(4096) constexpr std::array<std::uint8_t, size> constants{3, 5, 7};

bool all_are_there() {
    const volatile std::uint8_t* const at = constants.data();
    bool right = at[0] == 3 && at[1] == 5 && at[2] == 7;
    for (std::size_t i = 3; i < size; ++i)
        right = right && at[i] == 0;
    return right;
}

/// Returns how many pages of the array this process has mapped, by /proc/self/pagemap.
std::size_t mapped_pages() {
    std::array<std::uint64_t, size / page> entries{};
    const FileDescriptor pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
    const auto offset = reinterpret_cast<std::uintptr_t>(constants.data()) / page * sizeof(std::uint64_t);
    EXPECT_EQ(::pread(pagemap.get(), entries.data(), sizeof(entries), static_cast<off_t>(offset)),
              static_cast<ssize_t>(sizeof(entries)));
    return static_cast<std::size_t>(
        std::ranges::count_if(entries, [](std::uint64_t entry) { return entry >> 63 != 0; }));
}

TEST(AfterStart, TheProgramsPagesAreGoneAndComeBackAsTheyWere) {
    ASSERT_TRUE(all_are_there());
    ASSERT_EQ(mapped_pages(), size / page);
    let_go_of_what_starting_took();
#ifdef NDEBUG
    EXPECT_LT(mapped_pages(), size / page / 2) << "but for those beside what runs meanwhile";
#endif
    EXPECT_TRUE(all_are_there());
}

} // namespace
} // namespace aerate
