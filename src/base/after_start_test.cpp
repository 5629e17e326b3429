#include "base/after_start.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <sys/mman.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

namespace aerate {
namespace {

// More than what the kernel maps around one fault.
constexpr std::size_t size = std::size_t{256} << 10;
alignas(4096) constexpr std::array<std::uint8_t, size> constants = [] {
    std::array<std::uint8_t, size> made{};
    for (std::size_t i = 0; i < size; ++i)
        made[i] = static_cast<std::uint8_t>(i * 7 + i / 4096);
    return made;
}();

bool all_are_there() {
    const volatile std::uint8_t* const at = constants.data();
    for (std::size_t i = 0; i < size; i += 512)
        if (at[i] != static_cast<std::uint8_t>(i * 7 + i / 4096))
            return false;
    return true;
}

/// Returns how many KiB of the mapping that has `address` this process has mapped.
long resident_kib(const void* address) {
    const auto wanted = reinterpret_cast<std::uintptr_t>(address);
    std::FILE* const smaps = std::fopen("/proc/self/smaps", "re");
    std::array<char, 512> line{};
    bool here = false;
    long kib = -1;
    while (std::fgets(line.data(), line.size(), smaps) != nullptr) {
        std::uintptr_t start = 0;
        std::uintptr_t end = 0;
        if (std::sscanf(line.data(), "%lx-%lx ", &start, &end) == 2) // NOLINT(cert-err34-c)
            here = wanted >= start && wanted < end;
        else if (here && std::string(line.data()).starts_with("Rss:"))
            kib = std::stol(std::string(line.data() + 4));
    }
    std::fclose(smaps);
    return kib;
}

TEST(AfterStart, TheProgramsPagesAreGoneAndComeBackAsTheyWere) {
    ASSERT_TRUE(all_are_there());
    const long before = resident_kib(constants.data());
    ASSERT_GE(before, static_cast<long>(size >> 10));
    let_go_of_what_starting_took();
#ifdef NDEBUG
    EXPECT_LE(resident_kib(constants.data()), before - static_cast<long>(size >> 11));
#endif
    EXPECT_TRUE(all_are_there());
    let_go_of_what_starting_took();
    std::string text = "code runs on";
    EXPECT_EQ(text + "!", "code runs on!");
}

} // namespace
} // namespace aerate
