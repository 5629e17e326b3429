#include "balloon/config_space.hpp"
#include "balloon/testing/balloon_guest.hpp"
#include "reclaim/idle_memory.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>

namespace aerate {
namespace {

class Idle : public ::testing::Test {
protected:
    [[nodiscard]] ByteCount size() { return guest_.fake.memory().size(); }
    void fill(PageCount pages) { guest_.fill({{0}, pages}); }
    std::optional<ByteCount> idle(std::optional<ByteCount> free) {
        balloon::GuestStatistics said{};
        if (free)
            said.values[balloon::statistic::free_memory] = free->value;
        return idle_memory(said, guest_.fake.memory(), guest_.balloon);
    }

    balloon::testing::BalloonGuest guest_;
};

TEST_F(Idle, IsWhatIsResidentBeyondWhatIsUsed) {
    fill({64});
    const ByteCount others = guest_.fake.memory().resident() - bytes_of({64});
    EXPECT_EQ(idle(size()), bytes_of({64}) + others);
    EXPECT_EQ(idle(size() - bytes_of({16})), bytes_of({48}) + others);
}

TEST_F(Idle, IsNothingWhenTheGuestUsesMoreThanItHasTouched) {
    fill({64});
    EXPECT_EQ(idle(ByteCount{}), ByteCount{});
}

TEST_F(Idle, LeavesOutWhatTheBalloonHas) {
    guest_.start();
    fill({64});
    const ByteCount before = *idle(size() - bytes_of({40}));
    guest_.write_config(balloon::config_space::actual, 16);
    EXPECT_EQ(idle(size() - bytes_of({56})), before) << "what is in the balloon is neither free nor used";
}

TEST_F(Idle, IsBoundedWhateverTheGuestSays) {
    fill({64});
    EXPECT_LE(*idle(ByteCount{UINT64_MAX / 2}), guest_.fake.memory().resident());
}

TEST_F(Idle, IsUnknownWithoutTheGuestsWord) {
    EXPECT_EQ(idle(std::nullopt), std::nullopt);
}

/// A guest that gives its statistics and hints when the test says so, and rests at once.
class GivingBack : public ::testing::Test {
protected:
    class NoWrites final : public DirtyLog {
    public:
        Result<void> start() override { return {}; }
        Result<void> stop() override { return {}; }
        void take(PageBitmap&) override {}
    };

    GivingBack() {
        guest_.start();
        hold(std::byte{0});
        say(ByteCount{});
    }
    /// Has every page of what will be hinted populated.
    void hold(std::byte value) {
        CHECK(guest_.fake.memory().fill(address_of(hinted.first), bytes_of(hinted.count), value));
    }
    void give_back() {
        idle_.give_back(IdleMemory::Hints::always, [this](Result<IdleMemoryReport> report) {
            EXPECT_FALSE(report_) << "it is answered once";
            report_ = std::move(report);
        });
    }
    void begin_hinting() {
        const std::uint32_t id = guest_.balloon.hinting().tracker().issued.value;
        guest_.send(balloon::Queue::hinting, {virtio::testing::readable(id)});
    }
    void hint_all() {
        begin_hinting();
        const auto length = static_cast<std::uint32_t>(bytes_of(hinted.count).value);
        guest_.send(balloon::Queue::hinting, {virtio::testing::writable_at(address_of(hinted.first), length)});
        guest_.send(balloon::Queue::hinting, {virtio::testing::readable(std::uint32_t{0})});
    }
    void rest() { sweeper_.held(std::chrono::steady_clock::now()); }
    /// The guest's statistics, once it has been asked.
    void say(ByteCount free) {
        (void)guest_.queue(balloon::Queue::statistics).take_used();
        std::array<std::byte, 10> entry;
        store_little_endian(std::span(entry), static_cast<std::uint16_t>(balloon::statistic::free_memory));
        store_little_endian(std::span(entry).subspan(2), free.value);
        guest_.send(balloon::Queue::statistics, {virtio::testing::readable(std::span<const std::byte>(entry))});
    }
    [[nodiscard]] std::string error() const { return report_ && !*report_ ? report_->error().message : ""; }

    static constexpr PageRange hinted{frame_of(GuestAddress{4ULL << 30}), {2048}};
    balloon::testing::BalloonGuest guest_;
    DirtyTracker tracker_{guest_.fake.memory(), std::make_unique<NoWrites>()};
    unsigned holds_ = 0;
    unsigned resumes_ = 0;
    std::optional<Result<IdleMemoryReport>> report_;
    Sweeper sweeper_{guest_.loop,
                     guest_.fake.memory(),
                     tracker_,
                     guest_.balloon.hinting(),
                     {.hold = [this] { ++holds_; }, .resume = [this] { ++resumes_; }}};
    Squeezer squeezer_{guest_.loop, guest_.fake.memory(), guest_.balloon};
    IdleMemory idle_{guest_.loop, guest_.fake.memory(), guest_.balloon, sweeper_, squeezer_};
};

TEST_F(GivingBack, C18_says_what_was_resident_and_what_is) {
    give_back();
    hint_all();
    ASSERT_EQ(holds_, 1U);
    rest();
    say(guest_.fake.memory().size()); // its blocks are back
    say(ByteCount{});                 // and nothing is idle
    ASSERT_TRUE(report_ && *report_) << error();
    EXPECT_EQ((*report_)->resident_before - (*report_)->resident_after, bytes_of(hinted.count));
    EXPECT_EQ((*report_)->resident_after, guest_.fake.memory().resident());
}

/// A kernel without init_on_alloc hints what holds something.
TEST_F(GivingBack, SweepsByLogWhatAGuestDoesNotClearAndNextTimeAtOnce) {
    for (const bool learned : {false, true}) {
        hold(std::byte{0xaa});
        report_.reset();
        give_back();
        if (!learned) {
            hint_all();
            rest();
            EXPECT_FALSE(sweeper_.busy()) << "its blocks are not back";
            say(guest_.fake.memory().size());
        }
        EXPECT_TRUE(sweeper_.busy());
        hint_all();
        rest();
        say(guest_.fake.memory().size());
        say(ByteCount{});
        ASSERT_TRUE(report_ && *report_) << error();
        EXPECT_TRUE((*report_)->logged);
        EXPECT_EQ((*report_)->sweep.hinted, hinted.count);
        EXPECT_EQ((*report_)->resident_before - (*report_)->resident_after, bytes_of(hinted.count));
    }
}

TEST_F(GivingBack, takes_no_small_blocks_from_a_driver_that_has_reported_them) {
    give_back();
    begin_hinting();
    const auto length = static_cast<std::uint32_t>(bytes_of(hinted.count).value);
    // No driver reads what it has reported, and send() would: huge pages of zeros count as resident.
    guest_.add(balloon::Queue::reporting, {virtio::testing::writable_at(address_of(hinted.first), length)});
    guest_.kick(balloon::Queue::reporting);
    guest_.send(balloon::Queue::hinting, {virtio::testing::readable(std::uint32_t{0})});
    ASSERT_TRUE(report_ && *report_) << error();
    EXPECT_EQ(holds_, 0U) << "nothing was hinted";
    EXPECT_EQ((*report_)->small, ByteCount{});
    EXPECT_EQ((*report_)->resident_before - (*report_)->resident_after, bytes_of(hinted.count));
    EXPECT_EQ(guest_.balloon.target(), PageCount{});
}

TEST_F(GivingBack, C18_what_was_not_resident_does_not_count) {
    ASSERT_EQ(guest_.fake.memory().discard({&hinted, 1}).discarded, hinted.count);
    give_back();
    hint_all();
    rest();
    say(guest_.fake.memory().size());
    say(ByteCount{});
    ASSERT_TRUE(report_ && *report_) << error();
    EXPECT_EQ((*report_)->sweep.hinted, hinted.count);
    EXPECT_EQ((*report_)->resident_before, (*report_)->resident_after);
}

TEST_F(GivingBack, C27_can_be_cancelled_in_every_step) {
    for (unsigned steps = 0; steps < 4; ++steps) {
        report_.reset();
        const unsigned held_before = holds_;
        give_back();
        if (steps > 0)
            begin_hinting();
        if (steps > 1)
            hint_all();
        if (steps > 2)
            rest(); // and waits for the statistics
        idle_.cancel("the VM is to be paused");
        EXPECT_EQ(error(), "the VM is to be paused") << steps;
        EXPECT_FALSE(idle_.busy() || sweeper_.busy() || squeezer_.busy()) << steps;
        EXPECT_EQ(holds_, resumes_) << steps;
        EXPECT_LE(holds_, held_before + 1);
        say(guest_.fake.memory().size()); // answers nobody
    }
}

TEST_F(GivingBack, AnAnswerToOneThatWasCancelledIsNotForTheNext) {
    give_back();
    hint_all();
    rest();
    idle_.cancel("once");
    report_.reset();
    give_back();
    say(guest_.fake.memory().size()); // the question is the first one's
    EXPECT_FALSE(report_);
    EXPECT_TRUE(sweeper_.busy()) << "the second one waits for hints";
    idle_.cancel("twice");
    EXPECT_EQ(error(), "twice");
}

} // namespace
} // namespace aerate
