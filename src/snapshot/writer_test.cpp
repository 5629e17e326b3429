// G7, the writing half: a snapshot is whole or absent, whatever system call fails.
#include "base/testing/temporary_directory.hpp"
#include "snapshot/header.hpp"
#include "snapshot/testing/sample.hpp"
#include "snapshot/writer.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <vector>

namespace aerate::snapshot {
namespace {

using namespace literals;
using ::testing::HasSubstr;
using testing::pages;
using testing::write_sample;

/// Fails the call with the given number, counted from 0, and remembers what was called. Writes are short, so that there
/// are more of them.
class FaultyFiles : public FileOperations {
public:
    explicit FaultyFiles(std::size_t failing = ~std::size_t{0}, int error = EIO)
        : failing_(failing)
        , error_(error) {}

    [[nodiscard]] const std::vector<std::string>& calls() const { return calls_; }
    bool tmpfile = true; ///< whether the file system has O_TMPFILE
    bool links = true;
    bool rename_flags = true;
    bool punch_holes = true;
    bool extends = true; ///< by truncate()
    ByteCount longest{~0ULL};

    int open(int directory, const std::string& name, int flags) override {
        if ((flags & O_TMPFILE) == O_TMPFILE && !tmpfile) {
            errno = EOPNOTSUPP;
            return -1;
        }
        return fails("open") ? -1 : FileOperations::open(directory, name, flags);
    }
    int stat(int directory, const std::string& name, struct stat& status) override {
        return fails("stat") ? -1 : FileOperations::stat(directory, name, status);
    }
    int truncate(int fd, ByteCount length) override {
        if (length > longest) {
            errno = EFBIG;
            return -1;
        }
        if (struct stat now{};
            !extends && ::fstat(fd, &now) == 0 && static_cast<std::uint64_t>(now.st_size) < length.value) {
            errno = EPERM;
            return -1;
        }
        return fails("truncate") ? -1 : FileOperations::truncate(fd, length);
    }
    ssize_t write(int fd, std::span<const std::byte> bytes, ByteCount offset) override {
        return fails("write")
                   ? -1
                   : FileOperations::write(fd, bytes.first(std::min<std::size_t>(bytes.size(), 3000)), offset);
    }
    int punch_hole(int fd, ByteCount offset, ByteCount length) override {
        if (!punch_holes) {
            errno = EOPNOTSUPP;
            return -1;
        }
        return fails("punch_hole") ? -1 : FileOperations::punch_hole(fd, offset, length);
    }
    int sync(int fd) override { return fails("sync") ? -1 : FileOperations::sync(fd); }
    int link(int fd, int directory, const std::string& name) override {
        if (!links) {
            errno = EPERM;
            return -1;
        }
        return fails("link") ? -1 : FileOperations::link(fd, directory, name);
    }
    int rename(int directory, const std::string& from, const std::string& to) override {
        return fails("rename") ? -1 : FileOperations::rename(directory, from, to);
    }
    int rename_to_free_name(int directory, const std::string& from, const std::string& to) override {
        if (!rename_flags) {
            errno = EINVAL;
            return -1;
        }
        return fails("rename") ? -1 : FileOperations::rename_to_free_name(directory, from, to);
    }
    int unlink(int directory, const std::string& name) override {
        return fails("unlink") ? -1 : FileOperations::unlink(directory, name);
    }

private:
    bool fails(const char* call) {
        calls_.emplace_back(call);
        errno = error_;
        return calls_.size() - 1 == failing_;
    }
    std::size_t failing_;
    int error_;
    std::vector<std::string> calls_;
};

/// Exercises every operation: data, a page that becomes a hole, a manifest.
Result<Digest> write_all(const std::string& path, Existing existing, FileOperations& operations, unsigned seed) {
    auto writer =
        TRY(Writer::create({.path = path, .regions = testing::sample_regions(), .existing = existing}, operations));
    TRY(writer.add({{3}, {2}}, pages(2, seed)));
    TRY(writer.drop({{4}, {1}}));
    TRY(writer.add({{400}, {1}}, pages(1, seed)));
    return std::move(writer).finish("config", {});
}

/// The calls of create() before it tries what the file system can do: the directory, the target.
constexpr std::size_t probe_call = 2;

bool is_naming(const std::string& call) {
    return call == "link" || call == "rename";
}

enum class Found { absent, old, fresh, half };

Found look(const std::string& path, const Digest& old, const Digest& fresh) {
    if (!std::filesystem::exists(path))
        return Found::absent;
    const auto snapshot = Snapshot::open(path);
    if (!snapshot || !snapshot->verify_memory())
        return Found::half;
    return snapshot->identity() == old ? Found::old : snapshot->identity() == fresh ? Found::fresh : Found::half;
}

struct FaultCase {
    bool over_old; ///< replaces a snapshot that is there
    bool tmpfile;
    bool punch_holes;
    int error;
    bool links = true;
    bool rename_flags = true;
};

class Fault : public ::testing::TestWithParam<FaultCase> {};

TEST_P(Fault, G7_WhicheverCallFailsTheSnapshotIsWholeOrAbsent) {
    const auto [over_old, tmpfile, punch_holes, error, links, rename_flags] = GetParam();
    const Existing existing = over_old ? Existing::replace : Existing::refuse;
    Digest fresh;
    {
        const TemporaryDirectory directory;
        fresh = write_all(directory / "a", existing, FileOperations::real(), 2).value();
    }
    std::size_t failing = 0;
    for (bool failed = true; failed; ++failing) {
        SCOPED_TRACE(failing);
        const TemporaryDirectory directory;
        const std::string path = directory / "a";
        Digest old{};
        if (over_old)
            old = write_all(path, Existing::refuse, FileOperations::real(), 1).value();
        FaultyFiles files(failing, error);
        files.tmpfile = tmpfile;
        files.punch_holes = punch_holes;
        files.links = links;
        files.rename_flags = rename_flags;
        const auto written = write_all(path, existing, files, 2);
        const auto& calls = files.calls();
        failed = calls.size() > failing;
        const std::string call = failed ? calls[failing] : "none";

        const Found found = look(path, old, fresh);
        // The directory's sync comes last: the file is there by then. A temporary name that cannot be removed, for the
        // file system refuses even that, is the only thing ever left behind.
        const auto failed_call = calls.begin() + static_cast<std::ptrdiff_t>(std::min(failing, calls.size()));
        const auto begun = std::find(calls.begin(), failed_call, "truncate");
        const bool named = failed && call == "sync" && std::find_if(begun, failed_call, is_naming) != failed_call;
        // Where the probe fails, or the clean-up after it, another way is taken.
        const bool probed = failed && begun == failed_call && (call == "link" || (failing == probe_call && tmpfile));
        if (!failed || probed || call == "unlink" || (error == EINTR && call == "write")) {
            EXPECT_TRUE(written);
            EXPECT_EQ(found, Found::fresh);
        } else {
            ASSERT_FALSE(written) << call;
            EXPECT_EQ(written.error().system_error, error) << call << ": " << written.error().message;
            EXPECT_EQ(found, named ? Found::fresh : over_old ? Found::old : Found::absent) << call;
        }
        EXPECT_EQ(directory.files(), (found == Found::absent ? 0U : 1U) + (call == "unlink" ? 1U : 0U)) << call;
    }
    EXPECT_GT(failing, 12U) << "calls that were made to fail";
}

INSTANTIATE_TEST_SUITE_P(Snapshot, Fault,
                         ::testing::Values(FaultCase{false, true, true, EIO}, FaultCase{true, true, true, EIO},
                                           FaultCase{false, false, true, ENOSPC}, FaultCase{true, false, true, ENOSPC},
                                           FaultCase{true, true, false, ENOSPC}, FaultCase{false, true, true, EFBIG},
                                           FaultCase{true, true, true, EDQUOT},
                                           FaultCase{false, true, true, EIO, false},
                                           FaultCase{true, true, true, EIO, false},
                                           FaultCase{false, false, true, ENOSPC, false, false},
                                           FaultCase{false, false, true, EIO, false, false}));

// What a file system lacks is found out before anything is written, and another way is taken.
TEST(Writer, C30_WhateverTheFileSystemLacksASnapshotIsWrittenAndNoFileIsReplacedUnasked) {
    for (unsigned lacking = 0; lacking < 32; ++lacking) {
        SCOPED_TRACE(lacking);
        for (const Existing existing : {Existing::refuse, Existing::replace}) {
            const TemporaryDirectory directory;
            FaultyFiles files;
            files.tmpfile = (lacking & 1U) == 0;
            files.links = (lacking & 2U) == 0;
            files.rename_flags = (lacking & 4U) == 0;
            files.punch_holes = (lacking & 8U) == 0;
            files.extends = (lacking & 16U) == 0;
            const auto written = write_all(directory / "a", existing, files, 1);
            ASSERT_TRUE(written) << written.error().message;
            EXPECT_EQ(look(directory / "a", {}, *written), Found::fresh);
            EXPECT_EQ(directory.files(), 1U);

            auto late = Writer::create({.path = directory / "b", .regions = testing::sample_regions()}, files);
            ASSERT_TRUE(late);
            const auto other = write_sample(directory / "b");
            ASSERT_TRUE(other);
            EXPECT_FALSE(std::move(*late).finish("", {}));
            EXPECT_EQ(look(directory / "b", *other, {}), Found::old);
            EXPECT_FALSE(write_all(directory / "b", Existing::refuse, files, 2));
            EXPECT_TRUE(write_all(directory / "b", Existing::replace, files, 2));
        }
    }
}

TEST(Writer, C30_NoLaterCallIsTheFirstToFindOutWhatTheFileSystemLacks) {
    for (const bool tmpfile : {true, false}) {
        const TemporaryDirectory directory;
        FaultyFiles files;
        files.tmpfile = tmpfile;
        files.links = false;
        auto writer = Writer::create({.path = directory / "a", .regions = testing::sample_regions()}, files);
        ASSERT_TRUE(writer);
        EXPECT_EQ(directory.files(), 1U) << "it has the name that publish() renames";
        const std::size_t before = files.calls().size();
        ASSERT_TRUE(std::move(*writer).finish("", {}));
        const auto& calls = files.calls();
        EXPECT_EQ(std::find(calls.begin() + static_cast<std::ptrdiff_t>(before), calls.end(), "link"), calls.end());
    }
}

TEST(Writer, C30_AFileThatMayNotBecomeLongEnoughIsRefusedBeforeItIsWritten) {
    const TemporaryDirectory directory;
    FaultyFiles files(~std::size_t{0}, EFBIG);
    files.longest = Header::size + 2_MiB + 4_KiB; // room for memory, not for its manifest
    const auto writer = Writer::create({.path = directory / "a", .regions = testing::sample_regions()}, files);
    ASSERT_FALSE(writer);
    EXPECT_THAT(writer.error().message, HasSubstr("ulimit -f"));
    EXPECT_EQ(directory.files(), 0U);
}

// What a power cut could undo comes before what makes it visible.
TEST(Writer, G7_DataIsOnTheDiskBeforeItHasAName) {
    for (const bool tmpfile : {true, false}) {
        for (const Existing existing : {Existing::refuse, Existing::replace}) {
            const TemporaryDirectory directory;
            FaultyFiles files;
            files.tmpfile = tmpfile;
            ASSERT_TRUE(write_all(directory / "a", existing, files, 1));
            const auto& calls = files.calls();
            const auto sync = std::ranges::find(calls, "sync");
            EXPECT_EQ(std::find_if(std::ranges::find(calls, "truncate"), sync, is_naming), sync);
            EXPECT_EQ(std::find(sync, calls.end(), "write"), calls.end());
            const auto named = std::find_if(sync, calls.end(), is_naming);
            EXPECT_NE(std::find(named, calls.end(), "sync"), calls.end()) << "the directory";
        }
    }
}

TEST(Writer, WithoutFinishNothingIsLeft) {
    for (const bool tmpfile : {true, false}) {
        const TemporaryDirectory directory;
        FaultyFiles files;
        files.tmpfile = tmpfile;
        {
            auto writer = Writer::create({.path = directory / "a", .regions = testing::sample_regions()}, files);
            ASSERT_TRUE(writer) << writer.error().message;
            ASSERT_TRUE(writer->add({{0}, {10}}, pages(10, 1)));
            EXPECT_EQ(directory.files(), tmpfile ? 0U : 1U);
        }
        EXPECT_EQ(directory.files(), 0U);
    }
}

TEST(Writer, AfterAFailedWriteItDoesNotFinish) {
    const TemporaryDirectory directory;
    FaultyFiles files(8, ENOSPC);
    auto writer = Writer::create({.path = directory / "a", .regions = testing::sample_regions()}, files);
    ASSERT_TRUE(writer);
    const auto added = writer->add({{0}, {10}}, pages(10, 1));
    ASSERT_FALSE(added);
    EXPECT_THAT(added.error().message, HasSubstr("No space left on device: make room"));
    EXPECT_FALSE(writer->add({{0}, {10}}, pages(10, 1)));
    EXPECT_FALSE(std::move(*writer).finish("", {}));
    EXPECT_EQ(directory.files(), 0U);
}

TEST(Writer, H6_OnlyARegularFileIsReplacedAndOnlyWhenAsked) {
    const TemporaryDirectory directory;
    ASSERT_TRUE(write_sample(directory / "a"));
    const auto again = write_sample(directory / "a");
    ASSERT_FALSE(again);
    EXPECT_THAT(again.error().message, HasSubstr("exists already"));
    EXPECT_TRUE(write_sample(directory / "a", {}, Existing::replace));

    ASSERT_EQ(::symlink((directory / "a").c_str(), (directory / "link").c_str()), 0);
    ASSERT_EQ(::symlink("nowhere", (directory / "dangling").c_str()), 0);
    ASSERT_EQ(::mkfifo((directory / "fifo").c_str(), 0600), 0);
    ASSERT_EQ(::mkdir((directory / "directory").c_str(), 0700), 0);
    for (const std::string name : {"link", "dangling", "fifo", "directory"}) {
        const auto written = write_sample(directory / name, {}, Existing::replace);
        ASSERT_FALSE(written) << name;
        EXPECT_THAT(written.error().message, HasSubstr("not a regular file")) << name;
    }
    for (const std::string& path : {std::string(), std::string("/"), directory / "", directory / ".."})
        EXPECT_FALSE(write_sample(path, {}, Existing::replace)) << path;
    EXPECT_FALSE(write_sample(directory / "absent/a"));
    EXPECT_FALSE(write_sample(directory / "a/b")) << "a file is no directory";
}

// The path is taken between create() and finish(): nobody's file is lost.
TEST(Writer, AFileThatAppearsMeanwhileIsKept) {
    for (const bool tmpfile : {true, false}) {
        const TemporaryDirectory directory;
        FaultyFiles files;
        files.tmpfile = tmpfile;
        auto writer = Writer::create({.path = directory / "a", .regions = testing::sample_regions()}, files);
        ASSERT_TRUE(writer);
        const auto other = write_sample(directory / "a");
        ASSERT_TRUE(other);
        EXPECT_FALSE(std::move(*writer).finish("", {}));
        EXPECT_EQ(Snapshot::open(directory / "a")->identity(), *other);
    }
}

TEST(Writer, OnlyRamIsTaken) {
    const TemporaryDirectory directory;
    auto writer = Writer::create({.path = directory / "a", .regions = {{{0}, 2_MiB}, {{4U << 20}, 2_MiB}}});
    ASSERT_TRUE(writer);
    for (const PageRange bad : {PageRange{{512}, {1}}, PageRange{{511}, {2}}, PageRange{{1023}, {2}},
                                PageRange{{1536}, {1}}, PageRange{{~0ULL}, {1}}, PageRange{{500}, {600}}}) {
        EXPECT_FALSE(writer->add(bad, pages(bad.count.value, 1))) << bad.first.value;
        EXPECT_FALSE(writer->drop(bad)) << bad.first.value;
    }
    EXPECT_FALSE(writer->drop({{0}, {~0ULL}}));
    EXPECT_FALSE(writer->add({{0}, {2}}, pages(1, 1))) << "too few bytes";
    EXPECT_FALSE(writer->add({{0}, {1ULL << 52}}, {})) << "a length that wraps";
    EXPECT_EQ(writer->written(), 0_pages);
    EXPECT_TRUE(std::move(*writer).finish("", {})) << "a caller's mistake breaks nothing";
    EXPECT_FALSE(Writer::create({.path = directory / "b", .regions = {}}));
}

// Beyond the limit the kernel sends SIGXFSZ, which would end the monitor.
TEST(Writer, M11_TheFileSizeLimitIsAnErrorNotASignal) {
    const TemporaryDirectory directory;
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    const auto limited = [&](ByteCount limit, auto&& act) {
        const rlimit small{.rlim_cur = limit.value, .rlim_max = before.rlim_max};
        EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
        auto outcome = act();
        EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
        return outcome;
    };
    const auto early = limited(1_MiB, [&] { return write_sample(directory / "a"); });
    ASSERT_FALSE(early);
    EXPECT_THAT(early.error().message, HasSubstr("ulimit -f"));
    const auto late = limited(2_MiB + 4_KiB + ByteCount{50}, [&] { return write_sample(directory / "a"); });
    ASSERT_FALSE(late) << "the manifest does not fit";
    EXPECT_THAT(late.error().message, HasSubstr("ulimit -f"));
    EXPECT_EQ(directory.files(), 0U);
}

} // namespace
} // namespace aerate::snapshot
