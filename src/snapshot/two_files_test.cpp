// A snapshot whose memory is in a file of its own, as Firecracker has it.
#include "base/testing/temporary_directory.hpp"
#include "snapshot/header.hpp"
#include "snapshot/snapshot.hpp"
#include "snapshot/writer.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

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

    static inline const std::vector<MemoryRegion> regions{{GuestAddress{0}, ByteCount{4ULL << 20}},
                                                          {GuestAddress{1ULL << 32}, ByteCount{2ULL << 20}}};

    Result<> write(unsigned char content, const fs::path& state, const fs::path& memory) {
        const std::vector<std::byte> page(page_size.value, std::byte{content});
        auto writer = TRY(
            Writer::create({.path = state, .regions = regions, .existing = Existing::replace, .memory_path = memory}));
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

/// A diff of what write() wrote: page 3 is zero now, page 5 holds something, and the second region is as it was.
class DiffInTwoFiles : public TwoFiles {
protected:
    [[nodiscard]] fs::path changes() const { return directory_.path() / "changes"; }

    /// What a guest has whose snapshot was written with this content, and that changed then.
    static GuestMemory changed(unsigned char content) {
        auto memory = GuestMemory::create({.regions = regions}).value();
        const std::vector<std::byte> page(page_size.value, std::byte{content});
        EXPECT_TRUE(memory.write(GuestAddress{1ULL << 32}, page));
        EXPECT_TRUE(memory.write(GuestAddress{5 * page_size.value}, page));
        return memory;
    }
    Result<MemoryImage> write_diff(const fs::path& memory_path, FileOperations& operations = FileOperations::real()) {
        const auto base = Snapshot::open(state(), memory());
        EXPECT_TRUE(base) << base.error().message;
        GuestMemory now = changed(7);
        auto writer = TRY(Writer::create({.path = directory_.path() / "later",
                                          .regions = regions,
                                          .existing = Existing::replace,
                                          .memory_path = memory_path,
                                          .base = base->memory_file_image()},
                                         operations));
        TRY(writer.drop({FrameNumber{3}, PageCount{2}}));
        TRY(writer.add({FrameNumber{5}, PageCount{1}}, *now.span(GuestAddress{5 * page_size.value}, page_size)));
        EXPECT_EQ(writer.written().value, 1U);
        TRY(writer.add_unchanged(now));
        MemoryImage image = writer.image();
        TRY(std::move(writer).finish("{}", {}));
        return image;
    }
    /// Copies what is no hole, as Firecracker's snapshot-editor does.
    static void rebase(const fs::path& from, const fs::path& onto) {
        const FileDescriptor source(::open(from.c_str(), O_RDONLY));
        const FileDescriptor target(::open(onto.c_str(), O_WRONLY));
        for (off_t at = 0; (at = ::lseek(source.get(), at, SEEK_DATA)) >= 0;) {
            const off_t end = ::lseek(source.get(), at, SEEK_HOLE);
            std::vector<char> bytes(static_cast<std::size_t>(end - at));
            EXPECT_EQ(::pread(source.get(), bytes.data(), bytes.size(), at), end - at);
            EXPECT_EQ(::pwrite(target.get(), bytes.data(), bytes.size(), at), end - at);
            at = end;
        }
    }
    void expect_whole(const fs::path& memory_path) {
        const auto merged = Snapshot::open(directory_.path() / "later", memory_path);
        ASSERT_TRUE(merged) << merged.error().message;
        EXPECT_TRUE(merged->verify_memory());
        const auto restored = merged->restore({.regions = merged->regions()});
        ASSERT_TRUE(restored);
        const auto byte = [&](std::uint64_t address) {
            std::array<std::byte, 1> read{};
            EXPECT_TRUE(restored->read(GuestAddress{address}, read));
            return static_cast<int>(read[0]);
        };
        EXPECT_EQ(byte(3 * page_size.value), 0);
        EXPECT_EQ(byte(5 * page_size.value), 7);
        EXPECT_EQ(byte(1ULL << 32), 7) << "as it was";
    }
};

TEST_F(DiffInTwoFiles, HasWhatChangedAndZerosWhereSomethingWas) {
    ASSERT_TRUE(write(7));
    ASSERT_TRUE(write_diff(changes()));
    EXPECT_EQ(fs::file_size(changes()), 6ULL << 20);
    const FileDescriptor file(::open(changes().c_str(), O_RDONLY));
    EXPECT_EQ(::lseek(file.get(), 0, SEEK_DATA), 3 * 4096) << "zeros, and no hole";
    EXPECT_EQ(::lseek(file.get(), 3 * 4096, SEEK_HOLE), 4 * 4096) << "what was zero before is as before";
    EXPECT_EQ(::lseek(file.get(), 4 * 4096, SEEK_DATA), 5 * 4096);
    EXPECT_EQ(::lseek(file.get(), 5 * 4096, SEEK_HOLE), 6 * 4096);
    EXPECT_LT(::lseek(file.get(), 6 * 4096, SEEK_DATA), 0) << "and nothing else";
}

TEST_F(DiffInTwoFiles, IsRefusedUntilItIsMerged) {
    ASSERT_TRUE(write(7));
    ASSERT_TRUE(write_diff(changes()));
    const auto unmerged = Snapshot::open(directory_.path() / "later", changes());
    ASSERT_FALSE(unmerged);
    EXPECT_TRUE(unmerged.error().message.contains("a diff that is not merged")) << unmerged.error().message;
    rebase(changes(), memory());
    expect_whole(memory());
}

TEST_F(DiffInTwoFiles, IsMergedWithTheFileThatIsThere) {
    ASSERT_TRUE(write(7));
    const FileDescriptor before(::open(memory().c_str(), O_RDONLY));
    const auto image = write_diff(memory());
    ASSERT_TRUE(image) << image.error().message;
    expect_whole(memory());
    EXPECT_EQ(Snapshot::open(directory_.path() / "later", memory())->memory_file_image()->chunks, image->chunks);
    std::array<char, 1> byte{};
    EXPECT_EQ(::pread(before.get(), byte.data(), 1, 3 * 4096), 1);
    EXPECT_EQ(byte[0], 7) << "guests that run from the old one see no change";
}

TEST_F(DiffInTwoFiles, WhatIsThereIsKeptOnlyWhenItHasTheLengthAndIsOurs) {
    ASSERT_TRUE(write(7));
    fs::copy_file(memory(), changes());
    fs::resize_file(changes(), 4ULL << 20);
    ASSERT_TRUE(write_diff(changes()));
    EXPECT_FALSE(Snapshot::open(directory_.path() / "later", changes())) << "it was no base";
    fs::permissions(memory(), fs::perms::others_write, fs::perm_options::add);
    const auto refused = Writer::create({.path = directory_.path() / "later",
                                         .regions = regions,
                                         .existing = Existing::replace,
                                         .memory_path = memory(),
                                         .base = MemoryImage{.regions = regions, .chunks = {}}});
    ASSERT_FALSE(refused);
    EXPECT_TRUE(refused.error().message.contains(memory().string())) << refused.error().message;
}

TEST_F(DiffInTwoFiles, ACopyOfWhatIsThereCanBeCancelled) {
    ASSERT_TRUE(write(7));
    EXPECT_FALSE(Writer::create({.path = directory_.path() / "later",
                                 .regions = regions,
                                 .existing = Existing::replace,
                                 .memory_path = memory(),
                                 .base = MemoryImage{.regions = regions, .chunks = {}},
                                 .cancelled = [] { return true; }}));
}

/// Where the file system shares blocks nothing is copied: this one has the content at once.
TEST_F(DiffInTwoFiles, ACloneIsAsGoodAsACopy) {
    class Cloning final : public FileOperations {
    public:
        int clone(int fd, int from) override {
            std::vector<char> all(6ULL << 20);
            return ::pread(from, all.data(), all.size(), 0) == 6 << 20 &&
                           ::pwrite(fd, all.data(), all.size(), 0) == 6 << 20
                       ? 0
                       : -1;
        }
    } cloning;
    ASSERT_TRUE(write(7));
    ASSERT_TRUE(write_diff(memory(), cloning));
    expect_whole(memory());
}

TEST_F(DiffInTwoFiles, APageThatIsWrittenAndDroppedAgainIsZero) {
    ASSERT_TRUE(write(7));
    const auto base = Snapshot::open(state(), memory())->memory_file_image();
    GuestMemory now = changed(7);
    auto writer = Writer::create({.path = directory_.path() / "later",
                                  .regions = regions,
                                  .existing = Existing::replace,
                                  .memory_path = changes(),
                                  .base = base});
    ASSERT_TRUE(writer);
    const std::vector<std::byte> page(page_size.value, std::byte{9});
    ASSERT_TRUE(writer->add({FrameNumber{8}, PageCount{1}}, page));
    ASSERT_TRUE(writer->drop({FrameNumber{8}, PageCount{1}}));
    ASSERT_TRUE(writer->drop({FrameNumber{3}, PageCount{1}}));
    ASSERT_TRUE(writer->add({FrameNumber{3}, PageCount{1}}, page));
    EXPECT_EQ(writer->written().value, 1U);
    ASSERT_TRUE(writer->add_unchanged(now));
    ASSERT_TRUE(std::move(*writer).finish("{}", {}));
    rebase(changes(), memory());
    const auto merged = Snapshot::open(directory_.path() / "later", memory());
    ASSERT_TRUE(merged) << merged.error().message;
    EXPECT_TRUE(merged->verify_memory());
}

TEST_F(TwoFiles, IsNeitherADiffOfOneFileNorSealed) {
    const fs::path secret = directory_.path() / "key";
    std::ofstream(secret) << std::string(32, 'k');
    fs::permissions(secret, fs::perms::owner_read);
    const auto key = Key::load(secret);
    ASSERT_TRUE(key) << key.error().message;
    EXPECT_FALSE(Writer::create({.path = state(), .regions = regions, .key = *key, .memory_path = memory()}));
    EXPECT_FALSE(Writer::create(
        {.path = state(), .regions = regions, .parent = Parent{.name = "x", .identity = {}}, .memory_path = memory()}));
    EXPECT_FALSE(Writer::create({.path = state(), .regions = regions, .base = MemoryImage{regions, {}}}))
        << "a diff of two files in one";
    EXPECT_FALSE(Writer::create({.path = state(), .regions = regions, .memory_path = memory(), .base = MemoryImage{}}))
        << "of another guest";
}

TEST_F(TwoFiles, ASingleFileTakesNoOtherMemory) {
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
