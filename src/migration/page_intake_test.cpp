#include "migration/page_intake.hpp"
#include "migration/testing/script.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace aerate::migration {
namespace {

using namespace aerate::literals;
using namespace testing;

constexpr std::uint64_t chunk = stream_chunk.value;
constexpr std::uint64_t chunks = 32;

bool host_has_huge_pages() {
    std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
    std::string modes;
    std::getline(file, modes);
    return !modes.empty() && modes.find("[never]") == std::string::npos;
}

/// Returns how much of the mapping of which `host` is a byte is in huge pages.
ByteCount huge_at(const std::byte* host) {
    std::ifstream smaps("/proc/self/smaps");
    const auto address = reinterpret_cast<std::uintptr_t>(host);
    bool inside = false;
    for (std::string line; std::getline(smaps, line);) {
        std::istringstream words(line);
        std::uintptr_t first = 0;
        std::uintptr_t last = 0;
        char dash = 0;
        std::string word;
        std::uint64_t kib = 0;
        if (line.find(':') > line.find('-') && words >> std::hex >> first >> dash >> last && dash == '-')
            inside = first <= address && address < last;
        else if (words.clear(), words.seekg(0); inside && words >> word >> std::dec >> kib && word == "AnonHugePages:")
            return {kib << 10};
    }
    return {};
}

struct Arriving {
    GuestMemory memory = std::move(*GuestMemory::create({{{{0}, {chunks * chunk * 4096}}}, Backing::anonymous}));
    std::unique_ptr<PageIntake> made = *PageIntake::create(memory, {}, 1);
    PageIntake& intake = *made;
    PageIntake::Lane lane;

    Arriving() { intake.begin_round(1); }
    void take(std::uint64_t first, std::uint32_t count, std::byte content = std::byte{0x11}) {
        std::vector<std::byte> payload;
        append_run(payload, first, count, PageRun::Kind::data, content);
        const auto taken = intake.take_pages(payload, lane);
        EXPECT_TRUE(taken) << taken.error().message;
    }
    void end_round() { EXPECT_TRUE(intake.end_round(lane)); }
    [[nodiscard]] std::byte at(std::uint64_t page) {
        std::array<std::byte, 1> byte{};
        EXPECT_TRUE(memory.read(address_of({page}), byte));
        return byte[0];
    }
};

TEST(PageIntake, S5_M6_APageCostsAPage) {
    if (!host_has_huge_pages())
        GTEST_SKIP() << "NOT TESTED: this host has no transparent huge pages";
    // The first of each 2 MiB, one within, and all but one.
    for (const auto& [first, count] : {std::pair{0U, 1U}, {300U, 1U}, {0U, 511U}}) {
        Arriving guest;
        for (std::uint64_t i = 0; i < chunks; ++i)
            for (std::uint32_t done = 0; done < count; done += 64)
                guest.take(i * chunk + first + done, std::min(64U, count - done));
        guest.end_round();
        EXPECT_EQ(guest.memory.resident(), bytes_of({chunks * count}));
        EXPECT_EQ(guest.at(chunk + first), std::byte{0x11});
        guest.intake.finish();
        EXPECT_EQ(guest.memory.resident(), bytes_of({chunks * count}));
    }
}

TEST(PageIntake, S5_AWholeHugePageIsOne) {
    Arriving guest;
    for (std::uint64_t page = 0; page < 2 * chunk; page += 64)
        guest.take(page, 64, std::byte(1 + page / 64));
    guest.take(2 * chunk, 64);
    guest.end_round();
    for (std::uint64_t page = 0; page < 2 * chunk; ++page)
        ASSERT_EQ(guest.at(page), std::byte(1 + page / 64)) << page;
    EXPECT_EQ(guest.at(2 * chunk), std::byte{0x11});
    EXPECT_EQ(guest.memory.resident(), bytes_of({2 * chunk + 64}));
    if (!host_has_huge_pages())
        GTEST_SKIP() << "PARTLY TESTED: this host has no transparent huge pages";
    EXPECT_EQ(huge_at(guest.memory.regions()[0].host), 4_MiB);
}

TEST(PageIntake, PagesInAnyOrderAndInLaterRoundsAreWhereTheyBelong) {
    Arriving guest;
    guest.take(0, 64, std::byte{1});
    guest.take(64, 64, std::byte{2});
    guest.take(200, 8, std::byte{3}); // a gap
    guest.take(128, 64, std::byte{4});
    guest.take(chunk - 32, 64, std::byte{5}); // across
    guest.end_round();
    guest.intake.begin_round(2);
    guest.take(64, 1, std::byte{6});
    guest.end_round();
    for (const auto& [page, content] : {std::pair<std::uint64_t, int>{0, 1},
                                        {63, 1},
                                        {64, 6},
                                        {65, 2},
                                        {127, 2},
                                        {128, 4},
                                        {191, 4},
                                        {192, 0},
                                        {200, 3},
                                        {208, 0},
                                        {chunk - 33, 0},
                                        {chunk - 32, 5},
                                        {chunk + 31, 5},
                                        {chunk + 32, 0}})
        EXPECT_EQ(guest.at(page), std::byte(content)) << page;
}

} // namespace
} // namespace aerate::migration
