// G7, the reading half: no damage to a file goes unnoticed. Exhaustive over a small snapshot, with and without a key.
#include "base/testing/sanitized.hpp"
#include "base/testing/temporary_directory.hpp"
#include "snapshot/header.hpp"
#include "snapshot/testing/sample.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <sys/mman.h>
#include <sys/stat.h>

#include <vector>

namespace aerate::snapshot {
namespace {

class Corruption : public ::testing::TestWithParam<bool> {
protected:
    void SetUp() override {
        key = GetParam() ? std::optional(testing::sample_key()) : std::nullopt;
        ASSERT_TRUE(testing::write_sample(path, key));
        file = FileDescriptor(::open(path.c_str(), O_RDWR | O_CLOEXEC));
        struct stat status{};
        ASSERT_EQ(::fstat(file.get(), &status), 0);
        length = static_cast<std::size_t>(status.st_size);
        void* const mapped = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
        ASSERT_NE(mapped, MAP_FAILED);
        bytes = static_cast<std::byte*>(mapped);
        ASSERT_TRUE(is_whole());
    }
    void TearDown() override {
        EXPECT_TRUE(is_whole()) << "the test did not put everything back";
        ::munmap(bytes, length);
    }
    [[nodiscard]] bool opens() const { return Snapshot::open(path, key).has_value(); }
    [[nodiscard]] bool is_whole() const {
        const auto snapshot = Snapshot::open(path, key);
        return snapshot && snapshot->verify_memory();
    }
    /// Calls refused() with each bit of the range flipped in turn, or every `step` bits; returns the first that it
    /// accepted.
    template <typename Refused>
    std::optional<std::size_t> first_missed(std::size_t first, std::size_t end, Refused&& refused, unsigned step = 1) {
        for (std::size_t at = first; at < end; ++at) {
            for (std::size_t bit = at % step; bit < 8; bit += step) {
                bytes[at] ^= std::byte{1} << bit;
                const bool noticed = refused();
                bytes[at] ^= std::byte{1} << bit;
                if (!noticed)
                    return at;
            }
        }
        return std::nullopt;
    }

    TemporaryDirectory directory;
    std::string path = directory / "snapshot";
    std::optional<Key> key;
    FileDescriptor file;
    std::byte* bytes = nullptr;
    std::size_t length = 0;
};

constexpr std::size_t memory_end = Header::size.value + (2U << 20);

TEST_P(Corruption, M2_EveryBitOfTheHeaderCounts) {
    EXPECT_EQ(first_missed(0, Header::size.value, [&] { return !opens(); }), std::nullopt);
}

TEST_P(Corruption, M2_EveryBitOfTheManifestCounts) {
    EXPECT_EQ(first_missed(memory_end, length, [&] { return !opens(); }), std::nullopt);
}

TEST_P(Corruption, M2_EveryBitOfAPageCounts) {
    const auto snapshot = Snapshot::open(path, key);
    ASSERT_TRUE(snapshot);
    const auto refused = [&] { return !snapshot->verify_memory(); };
    for (const std::size_t page : {3U, 4U, 400U}) {
        const std::size_t first = Header::size.value + page * page_size.value;
        // A sanitizer takes a hundred times as long: there one bit of each byte of one page must do.
        if (sanitized && page != 400)
            continue;
        EXPECT_EQ(first_missed(first, first + page_size.value, refused, sanitized ? 8 : 1), std::nullopt);
    }
}

TEST_P(Corruption, M2_NothingMayBeInAHole) {
    const auto snapshot = Snapshot::open(path, key);
    ASSERT_TRUE(snapshot);
    for (std::size_t page = 0; page < 512; ++page) {
        if (page == 3 || page == 4 || page == 400)
            continue;
        const std::size_t at = Header::size.value + page * page_size.value + page * 8 % page_size.value;
        bytes[at] = std::byte{1};
        EXPECT_FALSE(snapshot->verify_memory()) << page;
        bytes[at] = std::byte{0};
    }
}

// Data where the manifest says zero is no damage when it is zeros: a copy without holes is as good.
TEST_P(Corruption, ACopyWithoutHolesIsAsGood) {
    for (std::size_t at = 0; at < length; at += page_size.value) {
        const std::byte before = bytes[at];
        bytes[at] = std::byte{0xff};
        bytes[at] = before;
    }
    EXPECT_TRUE(is_whole());
}

TEST_P(Corruption, M1_EveryTruncationIsRefused) {
    const auto tail = std::vector(bytes + memory_end, bytes + length);
    const auto put_back = [&] {
        ASSERT_EQ(::ftruncate(file.get(), static_cast<off_t>(length)), 0);
        ASSERT_EQ(::pwrite(file.get(), tail.data(), tail.size(), static_cast<off_t>(memory_end)),
                  static_cast<ssize_t>(tail.size()));
    };
    for (std::size_t cut = memory_end; cut < length; ++cut) {
        ASSERT_EQ(::ftruncate(file.get(), static_cast<off_t>(cut)), 0);
        EXPECT_FALSE(opens()) << cut;
        put_back();
    }
    ASSERT_EQ(::ftruncate(file.get(), static_cast<off_t>(length + 1)), 0);
    EXPECT_FALSE(opens()) << "longer than it says";
    put_back();

    // Shorter ones lose memory: on a copy. All that matters to open() is the length and the header.
    const std::string copy = directory / "copy";
    std::filesystem::copy_file(path, copy);
    for (std::size_t cut = memory_end; cut > 0; cut -= cut > 2 * Header::size.value ? 509 : 1) {
        ASSERT_EQ(::truncate(copy.c_str(), static_cast<off_t>(cut)), 0);
        EXPECT_FALSE(Snapshot::open(copy, key)) << cut;
    }
    ASSERT_EQ(::truncate(copy.c_str(), 0), 0);
    EXPECT_FALSE(Snapshot::open(copy, key));
}

INSTANTIATE_TEST_SUITE_P(Snapshot, Corruption, ::testing::Bool(),
                         [](const auto& instance) { return instance.param ? "Key" : "NoKey"; });

} // namespace
} // namespace aerate::snapshot
