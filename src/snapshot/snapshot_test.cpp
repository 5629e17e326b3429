#include "base/testing/other_user.hpp"
#include "base/testing/temporary_directory.hpp"
#include "snapshot/snapshot.hpp"
#include "snapshot/testing/sample.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <algorithm>
#include <random>

namespace aerate::snapshot {
namespace {

using namespace literals;
using ::testing::HasSubstr;
using testing::image_of;
using testing::pages;
using testing::sample_key;
using testing::write_sample;

std::string why_not(const std::string& path, const std::optional<Key>& key = {}) {
    const auto snapshot = Snapshot::open(path, key);
    return snapshot ? "it opens" : snapshot.error().message;
}

/// Pages of an image.
testing::Bytes part(const testing::Bytes& image, std::uint64_t first, std::uint64_t count) {
    return {image.begin() + static_cast<std::ptrdiff_t>(first * page_size.value),
            image.begin() + static_cast<std::ptrdiff_t>((first + count) * page_size.value)};
}

class WithAndWithoutKey : public ::testing::TestWithParam<bool> {
protected:
    [[nodiscard]] static std::optional<Key> key() { return GetParam() ? std::optional(sample_key()) : std::nullopt; }
    TemporaryDirectory directory;
};

TEST_P(WithAndWithoutKey, GivesBackWhatWasWritten) {
    const auto identity = write_sample(directory / "a", key());
    ASSERT_TRUE(identity) << identity.error().message;
    const auto snapshot = Snapshot::open(directory / "a", key());
    ASSERT_TRUE(snapshot) << snapshot.error().message;
    EXPECT_EQ(snapshot->config(), testing::sample_config);
    EXPECT_EQ(snapshot->state(), testing::sample_state());
    EXPECT_EQ(snapshot->identity(), *identity);
    ASSERT_EQ(snapshot->regions().size(), 1U);
    EXPECT_EQ(snapshot->regions()[0].length, 2_MiB);

    const auto pieces = snapshot->pieces();
    ASSERT_EQ(pieces.size(), 2U);
    EXPECT_EQ(pieces[0].pages, (PageRange{{3}, {2}}));
    EXPECT_EQ(pieces[1].pages, (PageRange{{400}, {1}}));
    const auto image = image_of(*snapshot);
    EXPECT_EQ(part(image, 3, 2), pages(2, 1));
    EXPECT_EQ(part(image, 400, 1), pages(1, 2));

    std::vector<ByteCount> seen;
    const auto verified = snapshot->verify_memory([&](ByteCount done, ByteCount all) {
        EXPECT_EQ(all, 12_KiB);
        seen.push_back(done);
        return true;
    });
    EXPECT_TRUE(verified) << verified.error().message;
    EXPECT_EQ(seen, (std::vector{8_KiB, 12_KiB}));
}

TEST_P(WithAndWithoutKey, TheFileIsOnlyAsLargeAsItsData) {
    auto writer =
        Writer::create({.path = directory / "a", .regions = {{{0}, 1_GiB}, {{4ULL << 30}, 1_GiB}}, .key = key()});
    ASSERT_TRUE(writer) << writer.error().message;
    ASSERT_TRUE(writer->add({{10}, {1}}, pages(1, 1)));
    ASSERT_TRUE(writer->add({{(4ULL << 18) + 100}, {1}}, pages(1, 1)));
    ASSERT_TRUE(writer->add({{1000}, {1000}}, testing::Bytes(1000 * 4096)));
    EXPECT_EQ(writer->written(), 2_pages);
    ASSERT_TRUE(std::move(*writer).finish("", {}));
    struct stat status{};
    ASSERT_EQ(::stat((directory / "a").c_str(), &status), 0);
    EXPECT_GT(status.st_size, 2LL << 30);
    EXPECT_LT(status.st_blocks, 64 * 2) << "in units of 512 bytes";
    EXPECT_EQ(status.st_mode & 0777, 0600U) << "a guest's secrets";
    const auto snapshot = Snapshot::open(directory / "a", key());
    ASSERT_TRUE(snapshot) << snapshot.error().message;
    EXPECT_TRUE(snapshot->verify_memory());
    ASSERT_EQ(snapshot->pieces().size(), 2U);
    EXPECT_EQ(snapshot->pieces()[1].pages.first.value, (4ULL << 18) + 100);
}

// A model: an array. Random writes, rewrites, zeros and drops over two regions, as a full snapshot and two diffs.
TEST_P(WithAndWithoutKey, AChainOfDiffsHoldsWhatWasWrittenLast) {
    const std::vector<MemoryRegion> regions{{{0}, 2_MiB}, {{(2_MiB).value}, 2_MiB}, {{(8_MiB).value}, 2_MiB}};
    testing::Bytes model((10_MiB).value);
    std::minstd_rand random(7);
    std::optional<Parent> parent;
    for (const std::string name : {"full", "diff1", "diff2", "diff3"}) {
        auto writer = Writer::create({.path = directory / name, .regions = regions, .key = key(), .parent = parent});
        ASSERT_TRUE(writer) << writer.error().message;
        for (int i = 0; i < 200; ++i) {
            const std::uint64_t in_low = random() % 2;
            const std::uint64_t first = in_low != 0 ? random() % 1000 : 2048 + random() % 500;
            const std::uint64_t count = 1 + random() % 12;
            auto bytes = pages(count, static_cast<unsigned>(random()));
            for (std::uint64_t page = 0; page < count; ++page) {
                if (random() % 3 == 0)
                    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(page * 4096), 4096, std::byte{});
            }
            const bool drop = random() % 4 == 0;
            if (drop)
                std::ranges::fill(bytes, std::byte{});
            std::ranges::copy(bytes, model.begin() + static_cast<std::ptrdiff_t>(first * 4096));
            const auto done = drop ? writer->drop({{first}, {count}}) : writer->add({{first}, {count}}, bytes);
            ASSERT_TRUE(done) << done.error().message;
        }
        ASSERT_TRUE(std::move(*writer).finish(name, {}));
        const auto snapshot = Snapshot::open(directory / name, key());
        ASSERT_TRUE(snapshot) << snapshot.error().message;
        EXPECT_EQ(snapshot->config(), name);
        EXPECT_EQ(snapshot->chain_length(), name == "full" ? 1U : static_cast<unsigned>(name.back() - '0') + 1U);
        EXPECT_TRUE(image_of(*snapshot) == model) << name;
        const auto verified = snapshot->verify_memory();
        EXPECT_TRUE(verified) << verified.error().message;
        // Fewer pieces, the same memory.
        const auto all = snapshot->pieces(~std::size_t{0});
        for (const std::size_t most : {std::size_t{0}, std::size_t{1}, all.size() / 2, all.size() - 1, all.size()}) {
            EXPECT_TRUE(image_of(*snapshot, most) == model) << name << " in " << most;
            const auto pieces = snapshot->pieces(most);
            EXPECT_LE(pieces.size(), all.size());
            if (name == "full" && most >= 3) {
                EXPECT_LE(pieces.size(), most);
            }
        }
        parent = snapshot->as_parent();
    }
}

TEST_P(WithAndWithoutKey, AWrittenPageCanBecomeAHoleAgain) {
    auto writer = Writer::create({.path = directory / "a", .regions = testing::sample_regions(), .key = key()});
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->add({{0}, {512}}, pages(512, 1)));
    ASSERT_TRUE(writer->drop({{0}, {511}}));
    EXPECT_EQ(writer->written(), 1_pages);
    ASSERT_TRUE(std::move(*writer).finish("", {}));
    struct stat status{};
    ASSERT_EQ(::stat((directory / "a").c_str(), &status), 0);
    EXPECT_LT(status.st_blocks, 64 * 2);
    const auto snapshot = Snapshot::open(directory / "a", key());
    ASSERT_TRUE(snapshot);
    EXPECT_TRUE(snapshot->verify_memory());
    ASSERT_EQ(snapshot->pieces().size(), 1U);
    EXPECT_EQ(snapshot->pieces()[0].pages, (PageRange{{511}, {1}}));
}

INSTANTIATE_TEST_SUITE_P(Snapshot, WithAndWithoutKey, ::testing::Bool(),
                         [](const auto& instance) { return instance.param ? "Key" : "NoKey"; });

TEST(Snapshot, TheKeyIsTheOneItWasWrittenWith) {
    const TemporaryDirectory directory;
    ASSERT_TRUE(write_sample(directory / "open"));
    ASSERT_TRUE(write_sample(directory / "sealed", sample_key(1)));
    EXPECT_THAT(why_not(directory / "sealed"), HasSubstr("written with a key"));
    EXPECT_THAT(why_not(directory / "sealed", sample_key(2)), HasSubstr("another key"));
    EXPECT_THAT(why_not(directory / "open", sample_key(1)), HasSubstr("without a key"));
    EXPECT_TRUE(Snapshot::open(directory / "sealed", sample_key(1)));
}

TEST(Snapshot, H6_OnlyRegularFilesAreOpened) {
    const TemporaryDirectory directory;
    ASSERT_TRUE(write_sample(directory / "a"));
    ASSERT_EQ(::symlink((directory / "a").c_str(), (directory / "link").c_str()), 0);
    ASSERT_EQ(::mkfifo((directory / "fifo").c_str(), 0600), 0);
    ASSERT_EQ(::mkdir((directory / "directory").c_str(), 0700), 0);
    EXPECT_THAT(why_not(directory / "link"), HasSubstr("cannot be opened"));
    EXPECT_THAT(why_not(directory / "fifo"), HasSubstr("not a regular file"));
    EXPECT_THAT(why_not(directory / "directory"), HasSubstr("not a regular file"));
    EXPECT_THAT(why_not(directory / "absent"), HasSubstr("No such file"));
    EXPECT_THAT(why_not(directory / "a" + "/"), HasSubstr("does not end with the name"));
    EXPECT_THAT(why_not(directory / ".."), HasSubstr("does not end with the name"));
    EXPECT_THAT(why_not(""), HasSubstr("does not end with the name"));
    EXPECT_THAT(why_not("/dev/null"), HasSubstr("not a regular file"));
}

class Chain : public ::testing::Test {
protected:
    /// Writes a diff of `parent`, if any, that has one page of its own.
    void write(const std::string& name, const std::optional<Parent>& parent, std::uint64_t frame,
               std::vector<MemoryRegion> regions = testing::sample_regions()) {
        auto writer = Writer::create({.path = directory / name,
                                      .regions = std::move(regions),
                                      .existing = Existing::replace,
                                      .key = {},
                                      .parent = parent});
        ASSERT_TRUE(writer) << writer.error().message;
        ASSERT_TRUE(writer->add({{frame}, {1}}, pages(1, static_cast<unsigned>(frame))));
        ASSERT_TRUE(std::move(*writer).finish(name, {}));
    }
    [[nodiscard]] Parent as_parent(const std::string& name) const {
        return Snapshot::open(directory / name)->as_parent();
    }
    TemporaryDirectory directory;
};

TEST_F(Chain, AParentThatWasReplacedIsRefused) {
    write("full", {}, 1);
    write("diff", as_parent("full"), 2);
    ASSERT_EQ(why_not(directory / "diff"), "it opens");
    write("full", {}, 1);
    EXPECT_EQ(why_not(directory / "diff"), "it opens") << "the same again";
    write("full", {}, 3);
    EXPECT_THAT(why_not(directory / "diff"), HasSubstr("parent full is a different snapshot"));
    std::filesystem::remove(directory / "full");
    EXPECT_THAT(why_not(directory / "diff"), HasSubstr("parent full: it cannot be opened"));
}

TEST_F(Chain, M4_OfOtherMemoryIsRefused) {
    write("full", {}, 1);
    write("diff", as_parent("full"), 2, {{{0}, 4_MiB}});
    EXPECT_THAT(why_not(directory / "diff"), HasSubstr("has a different memory layout"));
}

TEST_F(Chain, ACycleIsRefused) {
    write("other", Parent{"self", {}}, 1);
    std::filesystem::rename(directory / "other", directory / "self");
    EXPECT_THAT(why_not(directory / "self"), HasSubstr("is a diff of it"));
    write("b", {}, 1);
    write("a", as_parent("b"), 1);
    write("b", as_parent("a"), 1);
    EXPECT_THAT(why_not(directory / "b"), HasSubstr("cannot use the snapshot"));
}

TEST_F(Chain, ADiffDoesNotReplaceItsParent) {
    write("full", {}, 1);
    const auto writer = Writer::create({.path = directory / "full",
                                        .regions = testing::sample_regions(),
                                        .existing = Existing::replace,
                                        .key = {},
                                        .parent = as_parent("full")});
    ASSERT_FALSE(writer);
    EXPECT_THAT(writer.error().message, HasSubstr("cannot take the place of its parent"));
}

TEST_F(Chain, TooLongIsRefused) {
    std::optional<Parent> parent;
    for (std::size_t i = 0; i <= Snapshot::chain_max; ++i) {
        const std::string name = std::to_string(i);
        write(name, parent, i);
        if (i == Snapshot::chain_max) {
            EXPECT_THAT(why_not(directory / name), HasSubstr("more than 32"));
        } else {
            parent = as_parent(name);
        }
    }
}

TEST_F(Chain, H6_TheParentIsInTheSameDirectory) {
    write("full", {}, 1);
    for (const std::string& name : {std::string("../full"), std::string("/etc/passwd"), std::string("."),
                                    std::string(".."), std::string(), std::string("a\0b", 3)}) {
        const auto writer = Writer::create(
            {.path = directory / "diff", .regions = testing::sample_regions(), .parent = Parent{name, {}}});
        EXPECT_FALSE(writer) << name;
    }
}

// The pages of such a file are mapped: whoever can write it can change or cut what a guest is made of.
TEST(Snapshot, S6_AFileThatOthersCanChangeIsRefusedUnlessAKeyVouchesForIt) {
    const TemporaryDirectory directory;
    const std::string path = directory / "a";
    ASSERT_TRUE(testing::write_sample(path));
    for (const mode_t mode : {0620U, 0602U, 0666U, 0660U}) {
        ASSERT_EQ(::chmod(path.c_str(), mode), 0);
        const auto refused = Snapshot::open(path);
        ASSERT_FALSE(refused) << std::oct << mode;
        EXPECT_THAT(refused.error().message, HasSubstr("chmod go-w a"));
    }
    for (const mode_t mode : {0600U, 0644U, 0444U}) {
        ASSERT_EQ(::chmod(path.c_str(), mode), 0);
        EXPECT_TRUE(Snapshot::open(path)) << std::oct << mode;
    }
    auto diff = Writer::create({.path = directory / "diff",
                                .regions = testing::sample_regions(),
                                .parent = Snapshot::open(path)->as_parent()});
    ASSERT_TRUE(diff && std::move(*diff).finish("", {}));
    ASSERT_EQ(::chmod(path.c_str(), 0622), 0);
    const auto refused = Snapshot::open(directory / "diff");
    ASSERT_FALSE(refused) << "each file of the chain";
    EXPECT_THAT(refused.error().message, HasSubstr("its parent a: other users can change it"));

    const auto key = std::optional(testing::sample_key());
    ASSERT_TRUE(testing::write_sample(directory / "sealed", key));
    ASSERT_EQ(::chmod((directory / "sealed").c_str(), 0666), 0);
    EXPECT_TRUE(Snapshot::open(directory / "sealed", key));

    AERATE_NEEDS_ANOTHER_USER();
    ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
    ASSERT_EQ(::chown(path.c_str(), other_user, 0), 0);
    const auto foreign = Snapshot::open(path);
    ASSERT_FALSE(foreign);
    EXPECT_THAT(foreign.error().message, HasSubstr("belongs to user 65534"));
}

} // namespace
} // namespace aerate::snapshot
