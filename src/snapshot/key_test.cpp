// What a key does for memory: what the guest sees is what was sealed, whoever can write the files, whenever.
#include "base/endian.hpp"
#include "snapshot/header.hpp"
#include "snapshot/testing/sample.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace aerate::snapshot {
namespace {

using testing::Bytes;
using ::testing::HasSubstr;
using testing::sample_key;

constexpr std::size_t memory_size = 2U << 20;
constexpr std::size_t manifest_start = Header::size.value + memory_size;

class SealedFile : public ::testing::Test {
protected:
    /// A file, and a diff of it that replaces page 4 and clears page 400.
    void SetUp() override {
        ASSERT_TRUE(testing::write_sample(base, key));
        auto writer = Writer::create({.path = diff,
                                      .regions = testing::sample_regions(),
                                      .key = key,
                                      .parent = Snapshot::open(base, key)->as_parent()});
        ASSERT_TRUE(writer && writer->add({{4}, {1}}, testing::pages(1, 77)) && writer->drop({{400}, {1}}));
        ASSERT_TRUE(std::move(*writer).finish(testing::sample_config, testing::sample_state()));
    }
    static Result<GuestMemory> restore(const std::string& path, const std::optional<Key>& key,
                                       Backing backing = Backing::anonymous) {
        return TRY(Snapshot::open(path, key)).restore({.regions = testing::sample_regions(), .backing = backing});
    }
    static Bytes content_of(const GuestMemory& memory) {
        Bytes bytes(memory_size);
        EXPECT_TRUE(memory.read({0}, bytes));
        return bytes;
    }
    static Bytes expected(const std::string& path) { return testing::image_of(*Snapshot::open(path, sample_key())); }
    static std::string refusal(const Result<GuestMemory>& restored) { return restored ? "" : restored.error().message; }
    static FileDescriptor writable(const std::string& path) {
        FileDescriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
        EXPECT_TRUE(file.valid());
        return file;
    }
    static void flip(const std::string& path, std::size_t at) {
        const FileDescriptor file = writable(path);
        std::byte byte{};
        ASSERT_EQ(::pread(file.get(), &byte, 1, static_cast<off_t>(at)), 1);
        byte ^= std::byte{0x10};
        ASSERT_EQ(::pwrite(file.get(), &byte, 1, static_cast<off_t>(at)), 1);
    }
    static constexpr std::size_t in_page(std::size_t page) { return Header::size.value + page * page_size.value + 99; }

    TemporaryDirectory directory;
    std::string base = directory / "base";
    std::string diff = directory / "diff";
    std::optional<Key> key = sample_key();
};

TEST_F(SealedFile, S3_IsRestoredAsItWasSealedIntoEachKindOfMemory) {
    for (const Backing backing : {Backing::anonymous, Backing::memfd}) {
        for (const std::string& path : {base, diff}) {
            const auto memory = restore(path, key, backing);
            ASSERT_TRUE(memory) << memory.error().message;
            EXPECT_EQ(content_of(*memory), expected(path)) << path;
        }
    }
}

TEST_F(SealedFile, S3_AChangedPageIsRefusedInEachFileOfTheChain) {
    for (const std::size_t page : {3U, 4U, 400U}) {
        flip(base, in_page(page));
        EXPECT_THAT(refusal(restore(base, key)), HasSubstr("base: its memory is damaged")) << page;
        // The diff has its own page 4, but where the chunk has a page of the base all of it must be as it was sealed.
        const bool of_no_use = page == 400; // the only page of its chunk
        EXPECT_EQ(refusal(restore(diff, key)).empty(), of_no_use) << page;
        flip(base, in_page(page));
    }
    flip(diff, in_page(4));
    EXPECT_THAT(refusal(restore(diff, key)), HasSubstr("diff: its memory is damaged"));
    EXPECT_EQ(refusal(restore(base, key)), "");
}

TEST_F(SealedFile, S3_WhatIsWrittenIntoAHoleIsNotSeen) {
    const auto before = expected(diff);
    for (const std::size_t page : {0U, 5U, 6U, 399U, 511U}) {
        flip(base, in_page(page));
        flip(diff, in_page(page));
    }
    flip(diff, in_page(400));
    const auto memory = restore(diff, key);
    ASSERT_TRUE(memory) << memory.error().message;
    EXPECT_EQ(content_of(*memory), before);
}

TEST_F(SealedFile, S3_WhatChangesInTheFilesAfterTheCheckIsNotSeen) {
    const auto before = expected(diff);
    const auto memory = restore(diff, key);
    ASSERT_TRUE(memory) << memory.error().message;
    const Bytes garbage(memory_size, std::byte{0xee});
    for (const std::string& path : {base, diff})
        ASSERT_EQ(::pwrite(writable(path).get(), garbage.data(), garbage.size(), Header::size.value),
                  static_cast<ssize_t>(garbage.size()));
    EXPECT_EQ(content_of(*memory), before);
    for (const std::string& path : {base, diff})
        ASSERT_EQ(::ftruncate(writable(path).get(), 0), 0);
    EXPECT_EQ(content_of(*memory), before);
}

/// What somebody does who can read and write the file but has no key: a page is changed and each digest above it is
/// made right again, with the seal that needs no key.
void reseal_without_key(const std::string& path, DigestKind seal) {
    const FileDescriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    struct stat status{};
    ASSERT_EQ(::fstat(file.get(), &status), 0);
    Bytes bytes(static_cast<std::size_t>(status.st_size));
    ASSERT_EQ(::pread(file.get(), bytes.data(), bytes.size(), 0), status.st_size);
    const std::span all(bytes);
    store_little_endian(all.subspan(16), static_cast<std::uint32_t>(seal));
    const auto manifest_digest = digest_of(seal, all.subspan(manifest_start));
    std::ranges::copy(manifest_digest, all.subspan(40).begin());
    const auto sealed = all.first(Header::size.value - sizeof(Digest));
    std::ranges::copy(digest_of(seal, sealed), all.subspan(sealed.size()).begin());
    ASSERT_EQ(::pwrite(file.get(), bytes.data(), bytes.size(), 0), status.st_size);
}

TEST_F(SealedFile, S3_NobodyWithoutTheKeyCanSealItAgain) {
    for (const DigestKind seal : {DigestKind::xxh3, DigestKind::sha256}) {
        reseal_without_key(base, seal);
        EXPECT_FALSE(Snapshot::open(base, key)) << static_cast<int>(seal);
        EXPECT_FALSE(Snapshot::open(diff, key)) << "as an ancestor, " << static_cast<int>(seal);
    }
}

TEST_F(SealedFile, S3_AFileWithoutAKeyIsRefusedWhereOneIsGiven) {
    ASSERT_TRUE(testing::write_sample(directory / "plain"));
    EXPECT_THAT(refusal(restore(directory / "plain", key)), HasSubstr("the key cannot vouch for it"));
    EXPECT_THAT(refusal(restore(base, std::nullopt)), HasSubstr("give the same key"));
    EXPECT_THAT(refusal(restore(base, sample_key(2))), HasSubstr("another key"));
}

} // namespace
} // namespace aerate::snapshot
