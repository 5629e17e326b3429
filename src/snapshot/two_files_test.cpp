// A snapshot whose memory is in a file of its own, as Firecracker has it.
#include "base/testing/temporary_directory.hpp"
#include "snapshot/header.hpp"
#include "snapshot/snapshot.hpp"
#include "snapshot/writer.hpp"

#include <gtest/gtest.h>

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>

namespace aerate::snapshot {
namespace {

namespace fs = std::filesystem;

class TwoFiles : public ::testing::Test {
protected:
    fs::path state() const { return directory_.path() / "state"; }
    fs::path memory() const { return directory_.path() / "memory"; }

    Result<> write(unsigned char content, const fs::path& state, const fs::path& memory) {
        const std::vector<std::byte> page(page_size.value, std::byte{content});
        auto writer = TRY(Writer::create(
            {.path = state,
             .regions = {{GuestAddress{0}, ByteCount{4ULL << 20}}, {GuestAddress{1ULL << 32}, ByteCount{2ULL << 20}}},
             .existing = Existing::replace,
             .memory_path = memory}));
        TRY(writer.add({FrameNumber{3}, PageCount{1}}, page));
        TRY(writer.add({frame_of(GuestAddress{1ULL << 32}), PageCount{1}}, page));
        TRY(std::move(writer).finish("{}", {}));
        return {};
    }
    Result<> write(unsigned char content) { return write(content, state(), memory()); }

    TemporaryDirectory directory_;
};

TEST_F(TwoFiles, MemoryIsAFlatSparseImage) {
    ASSERT_TRUE(write(7));
    EXPECT_EQ(fs::file_size(memory()), 6ULL << 20);
    EXPECT_LT(fs::file_size(state()), 64ULL << 10);
    std::ifstream file(memory(), std::ios::binary);
    const std::string all{std::istreambuf_iterator<char>(file), {}};
    EXPECT_EQ(all[3 * 4096], 7);
    EXPECT_EQ(all[4ULL << 20], 7) << "the second region follows the first";
    EXPECT_EQ(std::ranges::count(all, 7), 2 * 4096);
}

TEST_F(TwoFiles, GivesBackWhatWasWritten) {
    ASSERT_TRUE(write(7));
    const auto snapshot = Snapshot::open(state(), memory());
    ASSERT_TRUE(snapshot) << snapshot.error().message;
    EXPECT_TRUE(snapshot->verify_memory());
    const auto restored = snapshot->restore({.regions = snapshot->regions()});
    ASSERT_TRUE(restored);
    std::array<std::byte, 2> bytes{};
    EXPECT_TRUE(restored->read(GuestAddress{3 * 4096 - 1}, bytes));
    EXPECT_EQ(bytes, (std::array{std::byte{0}, std::byte{7}}));
}

TEST_F(TwoFiles, TheMemoryMustBeNamedAndBeTheRightOne) {
    ASSERT_TRUE(write(7));
    EXPECT_FALSE(Snapshot::open(state())) << "without its memory";
    EXPECT_FALSE(Snapshot::open(state(), directory_.path() / "none"));
    const fs::path other = directory_.path() / "other";
    ASSERT_TRUE(write(8, directory_.path() / "other state", other));
    const auto mixed = Snapshot::open(state(), other);
    ASSERT_FALSE(mixed);
    EXPECT_TRUE(mixed.error().message.contains("another snapshot's")) << mixed.error().message;
    fs::resize_file(memory(), 4ULL << 20);
    EXPECT_FALSE(Snapshot::open(state(), memory())) << "cut short";
}

TEST_F(TwoFiles, OneThatIsThereIsReplacedAsAWhole) {
    ASSERT_TRUE(write(7));
    ASSERT_TRUE(write(8));
    const auto snapshot = Snapshot::open(state(), memory());
    ASSERT_TRUE(snapshot);
    EXPECT_TRUE(snapshot->verify_memory());
}

TEST_F(TwoFiles, IsNeitherADiffNorSealed) {
    const std::vector<MemoryRegion> regions{{GuestAddress{0}, ByteCount{2ULL << 20}}};
    const fs::path secret = directory_.path() / "key";
    std::ofstream(secret) << std::string(32, 'k');
    fs::permissions(secret, fs::perms::owner_read);
    const auto key = Key::load(secret);
    ASSERT_TRUE(key) << key.error().message;
    EXPECT_FALSE(Writer::create({.path = state(), .regions = regions, .key = *key, .memory_path = memory()}));
    EXPECT_FALSE(Writer::create(
        {.path = state(), .regions = regions, .parent = Parent{.name = "x", .identity = {}}, .memory_path = memory()}));
}

TEST_F(TwoFiles, ASingleFileTakesNoOtherMemory) {
    const std::vector<MemoryRegion> regions{{GuestAddress{0}, ByteCount{2ULL << 20}}};
    auto writer = Writer::create({.path = state(), .regions = regions});
    ASSERT_TRUE(writer && std::move(*writer).finish("{}", {}));
    EXPECT_TRUE(Snapshot::open(state(), state())) << "its own name is no other";
    std::ofstream(memory()) << "x";
    EXPECT_FALSE(Snapshot::open(state(), memory()));
}

TEST_F(TwoFiles, S6_WhoseMemoryOthersCanChangeIsNamed) {
    ASSERT_TRUE(write(7));
    ASSERT_EQ(::chmod(memory().c_str(), 0666), 0);
    const auto refused = Snapshot::open(state(), memory());
    ASSERT_FALSE(refused);
    EXPECT_TRUE(refused.error().message.contains("its memory in " + memory().string() + ": other users can change it"))
        << refused.error().message;
    ASSERT_EQ(::chmod(memory().c_str(), 0600), 0);
    const auto alone = Snapshot::open(state());
    ASSERT_FALSE(alone);
    EXPECT_TRUE(alone.error().message.contains("PUT /snapshot/load")) << alone.error().message;
}

} // namespace
} // namespace aerate::snapshot
