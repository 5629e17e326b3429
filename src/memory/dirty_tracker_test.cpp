#include "memory/dirty_tracker.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <random>
#include <thread>

namespace aerate {
namespace {

using namespace literals;

constexpr PageCount pages = whole_pages_of(2_MiB);

/// What KVM would do, by hand.
class FakeLog final : public DirtyLog {
public:
    struct Script {
        unsigned starts = 0;
        unsigned stops = 0;
        bool on = false;
        bool refuse_start = false;
        bool refuse_stop = false;
        PageBitmap written{pages};
    };
    explicit FakeLog(Script& script)
        : script_(script) {}
    Result<void> start() override {
        ++script_.starts;
        script_.written.clear_all();
        script_.on = true;
        if (script_.refuse_start)
            return fail("no memory for the log");
        return {};
    }
    Result<void> stop() override {
        ++script_.stops;
        script_.on = false;
        if (script_.refuse_stop)
            return fail("no");
        return {};
    }
    void take(PageBitmap& into) override { script_.written.move_into(into); }

private:
    Script& script_;
};

struct TrackerTest : ::testing::Test {
    GuestMemory memory = GuestMemory::create({.regions = {{{0}, 2_MiB}}}).value();
    FakeLog::Script vcpus;
    DirtyTracker tracker{memory, std::make_unique<FakeLog>(vcpus)};

    void vcpu_writes(std::uint64_t frame) {
        if (vcpus.on)
            vcpus.written.set({{frame}, 1_pages});
    }
    DirtyTracker::Tracking track() { return tracker.track().value(); }
    static std::vector<std::uint64_t> gathered(DirtyTracker::Tracking& user) {
        PageBitmap into(pages);
        user.gather(into);
        std::vector<std::uint64_t> frames;
        for (PageRange run = into.next_run({0}, 1_pages); run.count > 0_pages; run = into.next_run(run.end(), 1_pages))
            frames.push_back(run.first.value);
        return frames;
    }
};

using Frames = std::vector<std::uint64_t>;

TEST_F(TrackerTest, LogsFromTheFirstUserToTheLast) {
    EXPECT_EQ(vcpus.starts, 0U);
    auto sweep = track();
    auto migration = track();
    EXPECT_EQ(vcpus.starts, 1U);
    EXPECT_TRUE(memory.write_log().active());
    sweep = {};
    EXPECT_TRUE(vcpus.on);
    EXPECT_TRUE(memory.write_log().active());
    migration = {};
    EXPECT_FALSE(vcpus.on);
    EXPECT_FALSE(memory.write_log().active());
    sweep = track();
    EXPECT_EQ(vcpus.starts, 2U);
}

TEST_F(TrackerTest, GathersWhatVcpusAndTheMonitorWroteAndDiscarded) {
    auto user = track();
    vcpu_writes(3);
    ASSERT_TRUE(memory.write(address_of({5}), std::array{std::byte{1}}));
    const PageRange discarded{{7}, 1_pages};
    memory.discard({&discarded, 1});
    EXPECT_EQ(gathered(user), (Frames{3, 5, 7}));
    EXPECT_EQ(gathered(user), Frames{});
}

TEST_F(TrackerTest, EachUserSeesWhatWasWrittenSinceItsOwnLastGather) {
    auto sweep = track();
    auto migration = track();
    vcpu_writes(1);
    EXPECT_EQ(gathered(sweep), Frames{1});
    vcpu_writes(2);
    EXPECT_EQ(gathered(sweep), Frames{2});
    EXPECT_EQ(gathered(migration), (Frames{1, 2}));
    EXPECT_EQ(gathered(migration), Frames{});
    vcpu_writes(3);
    EXPECT_EQ(gathered(migration), Frames{3});
    EXPECT_EQ(gathered(sweep), Frames{3});
}

TEST_F(TrackerTest, BeginsEmptyWhoeverTracksAlready) {
    auto first = track();
    vcpu_writes(1);
    auto second = track();
    vcpu_writes(2);
    EXPECT_EQ(gathered(second), Frames{2});
    EXPECT_EQ(gathered(first), (Frames{1, 2}));
    first = {};
    second = {};
    vcpu_writes(3);
    auto third = track();
    EXPECT_EQ(gathered(third), Frames{});
}

TEST_F(TrackerTest, TheRestStayWholeWhenOneLeaves) {
    auto stays = track();
    auto leaves = track();
    vcpu_writes(1);
    EXPECT_EQ(gathered(leaves), Frames{1});
    leaves = {};
    vcpu_writes(2);
    EXPECT_EQ(gathered(stays), (Frames{1, 2}));
}

TEST_F(TrackerTest, WhoAsksIsToldThatTheHostCannot) {
    vcpus.refuse_start = true;
    const auto refused = tracker.track();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message, "no memory for the log");
    EXPECT_FALSE(vcpus.on) << "nothing is left on";
    EXPECT_FALSE(memory.write_log().active());
    vcpus.refuse_start = false;
    auto user = track();
    vcpu_writes(1);
    EXPECT_EQ(gathered(user), Frames{1});
}

TEST_F(TrackerTest, AHostThatDoesNotStopHarmsNobody) {
    vcpus.refuse_stop = true;
    track() = {};
    EXPECT_EQ(vcpus.stops, 1U);
    auto again = track();
    vcpu_writes(1);
    EXPECT_EQ(gathered(again), Frames{1});
}

// Users come, gather and go at random; each is compared with a set of its own that knows every write.
TEST_F(TrackerTest, AgreesWithASetForEachUser) {
    struct User {
        DirtyTracker::Tracking writes;
        PageBitmap expected{pages};
    };
    std::minstd_rand random(7); // NOLINT: the same every time
    std::vector<User> users;
    for (int step = 0; step < 20'000; ++step) {
        const auto dice = random() % 100;
        if (dice < 70) {
            const std::uint64_t frame = random() % pages.value;
            if (dice % 2 == 0)
                vcpu_writes(frame);
            else
                memory.wrote(address_of({frame}), ByteCount{1});
            for (User& user : users)
                user.expected.set({{frame}, 1_pages});
        } else if (dice < 72 && users.size() < 4) {
            users.push_back({.writes = track()});
        } else if (dice < 74 && !users.empty()) {
            users.erase(users.begin() + static_cast<std::ptrdiff_t>(random() % users.size()));
        } else if (!users.empty()) {
            User& user = users[random() % users.size()];
            PageBitmap into(pages);
            user.writes.gather(into);
            ASSERT_EQ(into.count(), user.expected.count()) << "step " << step;
            into.remove(user.expected);
            ASSERT_EQ(into.count(), 0_pages) << "step " << step;
            user.expected.clear_all();
        }
        ASSERT_EQ(vcpus.on, !users.empty());
    }
}

// Each page holds a version that only grows. Every user copies the pages that it gathers, in a thread of its own, while
// others come and go; at the end each copy must be the last version.
TEST_F(TrackerTest, NoThreadMissesAWrite) {
    constexpr std::uint64_t versions = 300;
    std::atomic<bool> written = false;
    std::array<DirtyTracker::Tracking, 3> users{track(), track(), track()};
    std::array<std::vector<std::uint64_t>, 3> copies;
    std::vector<std::jthread> threads;
    for (std::size_t index = 0; index < users.size(); ++index) {
        threads.emplace_back([&, index] {
            copies[index].resize(pages.value);
            PageBitmap into(pages);
            for (bool last = false; !last;) {
                last = written;
                users[index].gather(into);
                for (PageRange run = into.next_run({0}, 1_pages); run.count > 0_pages;
                     run = into.next_run(run.end(), 1_pages))
                    copies[index][run.first.value] = memory.load<std::uint64_t>(address_of(run.first)).value();
                into.clear_all();
            }
        });
    }
    std::jthread visitor([&](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            auto visit = track();
            PageBitmap into(pages);
            visit.gather(into);
        }
    });
    for (std::uint64_t version = 1; version <= versions; ++version)
        for (std::uint64_t frame = 0; frame < pages.value; ++frame)
            ASSERT_TRUE(memory.store<std::uint64_t>(address_of({frame}), version));
    written = true;
    threads.clear();
    for (const auto& copy : copies)
        for (const std::uint64_t version : copy)
            ASSERT_EQ(version, versions);
}

} // namespace
} // namespace aerate
