#include "base/testing/temporary_directory.hpp"
#include "snapshot/chain.hpp"
#include "snapshot/testing/sample.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace aerate::snapshot {
namespace {

using ::testing::HasSubstr;
using testing::write_sample;

class CheckChain : public ::testing::Test {
protected:
    [[nodiscard]] Writer::Options diff_of(const std::string& parent, const std::string& name) const {
        return {.path = directory / name,
                .regions = testing::sample_regions(),
                .existing = Existing::replace,
                .parent = Snapshot::open(directory / parent)->as_parent()};
    }
    void write(const Writer::Options& options) const {
        auto writer = Writer::create(options);
        ASSERT_TRUE(writer) << writer.error().message;
        ASSERT_TRUE(std::move(*writer).finish("", {}));
    }
    [[nodiscard]] static std::string why_not(const Writer::Options& options) {
        const auto checked = check_chain(options);
        return checked ? "it works" : checked.error().message;
    }
    TemporaryDirectory directory;
};

TEST_F(CheckChain, TheParentMustBeThereAndTheSame) {
    ASSERT_TRUE(write_sample(directory / "full"));
    const auto options = diff_of("full", "diff");
    EXPECT_EQ(why_not(options), "it works");
    ASSERT_TRUE(write_sample(directory / "full", {}, Existing::replace, FileOperations::real(), 7));
    EXPECT_THAT(why_not(options), HasSubstr("is no longer the snapshot"));
    std::filesystem::remove(directory / "full");
    EXPECT_THAT(why_not(options), HasSubstr("cannot be opened"));
    EXPECT_THAT(why_not(options), HasSubstr("take a full snapshot"));
}

TEST_F(CheckChain, TheKeyIsTheParents) {
    ASSERT_TRUE(write_sample(directory / "full"));
    auto options = diff_of("full", "diff");
    options.key = testing::sample_key();
    EXPECT_THAT(why_not(options), HasSubstr("without a key"));
}

TEST_F(CheckChain, NoAncestorIsReplaced) {
    ASSERT_TRUE(write_sample(directory / "full"));
    write(diff_of("full", "one"));
    write(diff_of("one", "two"));
    EXPECT_EQ(why_not(diff_of("two", "three")), "it works");
    for (const char* name : {"full", "one", "two"})
        EXPECT_THAT(why_not(diff_of("two", name)), HasSubstr("a file that it needs")) << name;
}

TEST_F(CheckChain, HasAnEnd) {
    ASSERT_TRUE(write_sample(directory / "0"));
    for (std::size_t i = 1; i < Snapshot::chain_max; ++i) {
        const auto options = diff_of(std::to_string(i - 1), std::to_string(i));
        ASSERT_EQ(why_not(options), "it works") << i;
        write(options);
    }
    const std::string last = std::to_string(Snapshot::chain_max - 1);
    EXPECT_EQ(Snapshot::open(directory / last)->chain_length(), Snapshot::chain_max);
    EXPECT_THAT(why_not(diff_of(last, "more")), HasSubstr("the last of 32 files"));
}

} // namespace
} // namespace aerate::snapshot
