// Diffs of a guest that lives in this process: a diff holds what changed since the last snapshot that succeeded,
// whatever failed in between.
#include "base/testing/temporary_directory.hpp"
#include "machine/snapshotter.hpp"
#include "snapshot/snapshot.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <future>
#include <random>

namespace aerate {
namespace {

using namespace literals;

const std::vector<MemoryRegion> regions{{{0}, 2_MiB}, {{(8_MiB).value}, 2_MiB}};
constexpr std::uint64_t pages_of_region = 512;

/// Its vCPUs write through GuestMemory, so the monitor's log has it all.
class NoVcpus final : public DirtyLog {
public:
    void take(PageBitmap&) override {}
    Result<> start() override { return {}; }
    Result<> stop() override { return {}; }
};

class SmallGuest final : public migration::SourceGuest {
public:
    GuestMemory& memory() override { return memory_; }
    std::string config() override { return "config"; }
    Result<> start_tracking() override {
        writes_ = TRY(tracker.track());
        return {};
    }
    void gather(PageBitmap& written) override { writes_.gather(written); }
    void stop_tracking() override { writes_ = {}; }
    void start_hinting(Hints hints, std::move_only_function<void(bool)> published) override {
        published(true);
        hints.hinted->add(hint);
        hints.round_over();
    }
    void stop_hinting(std::move_only_function<void()> closed) override { closed(); }
    void freeze(std::move_only_function<void(Result<>)> frozen) override {
        if (before_freeze)
            before_freeze();
        frozen({});
    }
    void save(std::move_only_function<void(Result<std::vector<std::byte>>)> saved) override {
        if (fail_save)
            return saved(fail("a device cannot be saved"));
        saved(std::vector<std::byte>(10));
    }
    void run_on() override {
        writes_ = {};
        if (after_run_on)
            after_run_on();
    }
    void gone() override {}

private:
    GuestMemory memory_ = GuestMemory::create({.regions = regions}).value();

public:
    DirtyTracker tracker{memory_, std::make_unique<NoVcpus>()};
    std::function<void()> before_freeze; ///< in the guest's last moment before it rests
    std::function<void()> after_run_on;  ///< while the file is on its way to the disk
    PageRange hint{};
    bool fail_save = false;

private:
    DirtyTracker::Tracking writes_;
};

/// Fails the call with the given number, and does not wait for the disk.
class TestFiles final : public snapshot::FileOperations {
public:
    explicit TestFiles(std::size_t failing = ~std::size_t{0}, bool* failed = nullptr)
        : failing_(failing)
        , failed_(failed) {}

    int open(int directory, const std::string& name, int flags) override {
        return fails() ? -1 : FileOperations::open(directory, name, flags);
    }
    int stat(int directory, const std::string& name, struct stat& status) override {
        return fails() ? -1 : FileOperations::stat(directory, name, status);
    }
    int truncate(int fd, ByteCount length) override { return fails() ? -1 : FileOperations::truncate(fd, length); }
    ssize_t write(int fd, std::span<const std::byte> bytes, ByteCount offset) override {
        return fails() ? -1 : FileOperations::write(fd, bytes, offset);
    }
    int sync(int) override { return fails() ? -1 : 0; }
    int link(int fd, int directory, const std::string& name) override {
        return fails() ? -1 : FileOperations::link(fd, directory, name);
    }
    int rename(int directory, const std::string& from, const std::string& to) override {
        return fails() ? -1 : FileOperations::rename(directory, from, to);
    }

private:
    bool fails() {
        errno = ENOSPC;
        if (calls_++ != failing_)
            return false;
        if (failed_ != nullptr)
            *failed_ = true;
        return true;
    }
    std::size_t failing_;
    bool* failed_;
    std::size_t calls_ = 0;
};

class DiffSnapshots : public ::testing::Test {
protected:
    [[nodiscard]] std::string path(const std::string& name) const { return directory_ / name; }

    Result<SnapshotReport> take(const std::string& name, bool diff, bool sweep = false, TestFiles files = TestFiles()) {
        std::promise<Result<SnapshotReport>> finished;
        Snapshotter snapshotter(guest,
                                {.file = {.path = path(name),
                                          .regions = regions,
                                          .existing = snapshot::Existing::replace,
                                          .parent = diff ? base.parent() : std::nullopt},
                                 .sweep = sweep,
                                 .base = &base,
                                 .lineage = base.lineage(),
                                 .file_operations = &files},
                                [&](Result<SnapshotReport> result) { finished.set_value(std::move(result)); });
        EXPECT_TRUE(snapshotter.start());
        return finished.get_future().get();
    }

    /// Writes, clears and discards some pages.
    void live() {
        for (int i = 0; i < 12; ++i) {
            const std::uint64_t page = random_() % (2 * pages_of_region);
            const FrameNumber frame{page < pages_of_region ? page : 2048 + page - pages_of_region};
            if (i % 4 == 0)
                (void)guest.memory().discard(std::array{PageRange{frame, {1 + random_() % 5}}});
            else
                EXPECT_TRUE(guest.memory().fill(address_of(frame), page_size, static_cast<std::byte>(random_() % 3)));
        }
    }

    using Image = std::vector<std::byte>;
    static Image image_of(const GuestMemory& memory) {
        Image image((4_MiB).value);
        EXPECT_TRUE(memory.read({0}, std::span(image).first((2_MiB).value)));
        EXPECT_TRUE(memory.read({(8_MiB).value}, std::span(image).subspan((2_MiB).value)));
        return image;
    }
    [[nodiscard]] Image image_of(const std::string& name) const {
        const auto file = snapshot::Snapshot::open(path(name));
        EXPECT_TRUE(file) << file.error().message;
        EXPECT_TRUE(file->verify_memory());
        const auto memory = file->restore({.regions = file->regions()});
        EXPECT_TRUE(memory) << memory.error().message;
        return image_of(*memory);
    }

    SmallGuest guest;
    DiffBase base{guest.tracker};

private:
    TemporaryDirectory directory_;
    std::minstd_rand random_{7};
};

TEST_F(DiffSnapshots, EachHoldsTheGuestAsItStoodStill) {
    live();
    ASSERT_TRUE(take("0", false));
    for (int i = 1; i < 10; ++i) {
        live();
        Image frozen;
        guest.before_freeze = [&] {
            live();
            frozen = image_of(guest.memory());
        };
        guest.after_run_on = [&] { live(); };
        const auto report = take(std::to_string(i), i != 5);
        ASSERT_TRUE(report) << report.error().message;
        EXPECT_EQ(report->parent, i == 5 ? "" : std::to_string(i - 1));
        EXPECT_TRUE(image_of(std::to_string(i)) == frozen) << i;
        if (i != 5) {
            EXPECT_LT(report->data, 600_KiB) << "only what has changed";
        }
    }
}

TEST_F(DiffSnapshots, G7_AfterAFailedOneTheNextIsComplete) {
    live();
    ASSERT_TRUE(take("base", false));
    std::size_t failing = 0;
    for (bool failed = true; failed; ++failing) {
        SCOPED_TRACE(failing);
        live();
        guest.before_freeze = [&] { live(); };
        guest.after_run_on = [&] { live(); };
        failed = false;
        const auto taken = take("failed" + std::to_string(failing), true, false, TestFiles(failing, &failed));
        EXPECT_TRUE(failed || taken); // it may also have gone another way

        Image frozen;
        guest.before_freeze = [&] { frozen = image_of(guest.memory()); };
        guest.after_run_on = {};
        const std::string name = "diff" + std::to_string(failing);
        const auto report = take(name, true);
        ASSERT_TRUE(report) << report.error().message;
        EXPECT_TRUE(image_of(name) == frozen);
        ASSERT_TRUE(take("base" + std::to_string(failing), false)); // chains have an end
    }
    EXPECT_GT(failing, 8U) << "calls that were made to fail";
}

TEST_F(DiffSnapshots, C27_NoSnapshotThatTheLatestOneNeedsIsReplaced) {
    ASSERT_TRUE(take("0", false));
    for (const char* name : {"1", "2"}) {
        live();
        ASSERT_TRUE(take(name, true));
    }
    const auto frozen = image_of(guest.memory());
    for (const char* needed : {"0", "1"}) {
        for (const bool diff : {false, true}) {
            const auto refused = take(needed, diff);
            ASSERT_FALSE(refused) << needed;
            EXPECT_NE(refused.error().message.find("cannot replace " + path(needed) + ": 2, the latest"),
                      std::string::npos)
                << refused.error().message;
        }
    }
    EXPECT_TRUE(image_of("2") == frozen);
    ASSERT_TRUE(take("2", false)) << "a full one in its place needs none of them";
    EXPECT_TRUE(take("0", false));
    EXPECT_TRUE(take("1", true));
}

TEST_F(DiffSnapshots, AfterADeviceThatCannotBeSavedTheNextIsComplete) {
    ASSERT_TRUE(take("base", false));
    live();
    guest.fail_save = true;
    EXPECT_FALSE(take("failed", true));
    guest.fail_save = false;
    ASSERT_TRUE(take("diff", true));
    EXPECT_TRUE(image_of("diff") == image_of(guest.memory()));
}

TEST_F(DiffSnapshots, OthersWhoTrackTakeNothingAway) {
    ASSERT_TRUE(take("base", false));
    live();
    {
        auto other = guest.tracker.track();
        ASSERT_TRUE(other);
        live();
        PageBitmap taken(guest.memory().address_space());
        other->gather(taken);
        live();
    }
    ASSERT_TRUE(take("diff", true));
    EXPECT_TRUE(image_of("diff") == image_of(guest.memory()));
}

TEST_F(DiffSnapshots, AHintedPageHidesTheParents) {
    ASSERT_TRUE(guest.memory().fill(address_of({10}), {4 * page_size.value}, std::byte{5}));
    ASSERT_TRUE(take("base", false));
    guest.hint = {{10}, {4}};
    guest.before_freeze = [&] { EXPECT_TRUE(guest.memory().fill(address_of({12}), {1}, std::byte{9})); };
    const auto report = take("diff", true, true);
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_EQ(report->omitted, 12_KiB);
    Image expected = image_of(guest.memory());
    for (const std::uint64_t page : {10U, 11U, 13U})
        std::fill_n(expected.begin() + static_cast<std::ptrdiff_t>(page * page_size.value), page_size.value,
                    std::byte{});
    EXPECT_TRUE(image_of("diff") == expected) << "free by the guest's word, but for the page that it wrote since";
}

TEST_F(DiffSnapshots, WithoutItsParentADiffIsRefusedBeforeTheGuestIsTouched) {
    ASSERT_TRUE(take("base", false));
    std::filesystem::remove(path("base"));
    guest.before_freeze = [] { FAIL() << "the guest was stopped for nothing"; };
    const auto result = take("diff", true);
    ASSERT_FALSE(result);
    EXPECT_NE(result.error().message.find("take a full snapshot"), std::string::npos) << result.error().message;
}

} // namespace
} // namespace aerate
