#include "base/testing/refusing_host.hpp"
#include "reclaim/sweeper.hpp"
#include "virtio/testing/fake_driver.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace aerate {
namespace {

using namespace std::chrono_literals;
using namespace virtio::testing;

constexpr FrameNumber first = frame_of(GuestAddress{4ULL << 30});
constexpr PageCount block{256};
constexpr unsigned blocks = 16; ///< of one MiB

/// What the guest writes, as KVM would log it.
class GuestWrites final : public DirtyLog {
public:
    explicit GuestWrites(GuestMemory& memory)
        : memory_(memory)
        , log_(memory.address_space()) {}

    Result<void> start() override { return {}; }
    Result<void> stop() override { return {}; }
    void take(PageBitmap& into) override { log_.move_into(into); }
    void write(PageRange pages, std::byte value) {
        CHECK(memory_.fill(address_of(pages.first), bytes_of(pages.count), value));
        log_.set(pages);
    }

private:
    GuestMemory& memory_;
    PageBitmap log_;
};

/// A guest with a hint queue, whose vCPUs come to rest when the test says so.
class ASweep : public ::testing::Test {
protected:
    ASweep() {
        hinting_.attach(queue_.device(), host_);
        CHECK(memory().fill(address_of(first), bytes_of({block.value * blocks}), data));
    }
    GuestMemory& memory() { return fake_.memory(); }
    void start() {
        sweeper_.start([this](Result<SweepReport> report) {
            EXPECT_FALSE(report_) << "it ends once";
            report_ = std::move(report);
            loop_.stop();
        });
    }
    void begin() {
        start();
        send(readable(hinting_.tracker().issued.value));
    }
    void hint(unsigned nth) {
        const GuestAddress at = address_of(pages(nth).first);
        send(writable_at(at, static_cast<std::uint32_t>(bytes_of(block).value)));
    }
    void end_round() { send(readable(std::uint32_t{0})); }
    void send(const FakeBuffer& buffer) {
        queue_.add({buffer});
        ASSERT_TRUE(hinting_.serve(queue_.device()));
        (void)queue_.device().publish();
        ASSERT_TRUE(queue_.take_used());
    }
    static PageRange pages(unsigned nth) { return {{first.value + nth * block.value}, block}; }
    [[nodiscard]] bool has_data(unsigned nth) {
        return !memory().is_zero(pages(nth).first) && !memory().is_zero({pages(nth).end().value - 1});
    }
    [[nodiscard]] unsigned blocks_with_data() {
        unsigned count = 0;
        for (unsigned nth = 0; nth < blocks; ++nth)
            count += has_data(nth) ? 1U : 0U;
        return count;
    }
    /// Serves the loop until the sweep wants the guest to rest, or is done.
    void run() {
        while (!report_ && !is_asked())
            loop_.run();
    }
    [[nodiscard]] bool is_asked() const { return holds_ > resumes_; }
    void rest(std::chrono::milliseconds for_so_long = {}) {
        sweeper_.held(std::chrono::steady_clock::now() - for_so_long);
    }
    /// From beginning to end.
    Result<> sweep() {
        report_.reset();
        begin_if_it_starts();
        if (!report_) {
            for (unsigned nth = 0; nth < blocks; ++nth)
                hint(nth);
            end_round();
            for (run(); !report_; run())
                rest();
        }
        return *report_ ? Result<>() : std::unexpected(report_->error());
    }
    void begin_if_it_starts() {
        start();
        if (!report_)
            send(readable(hinting_.tracker().issued.value));
    }
    [[nodiscard]] std::string error() const { return report_ && !*report_ ? report_->error().message : ""; }

    static constexpr std::byte data{0xaa};
    FakeDriver fake_;
    EventLoop loop_;
    FakeHost host_;
    balloon::Counters counters_;
    balloon::FreePageHinting hinting_{fake_.memory(), loop_, counters_, 1h, 1h};
    FakeQueue queue_ = fake_.queue(64, split_ring);
    GuestWrites* writes_ = new GuestWrites(fake_.memory());
    DirtyTracker tracker_{fake_.memory(), std::unique_ptr<DirtyLog>(writes_)};
    unsigned holds_ = 0;
    unsigned resumes_ = 0;
    std::optional<Result<SweepReport>> report_;
    /// A batch is two blocks.
    Sweeper sweeper_{loop_,
                     fake_.memory(),
                     tracker_,
                     hinting_,
                     {.hold =
                          [this] {
                              ++holds_;
                              loop_.stop();
                          },
                      .resume = [this] { ++resumes_; }},
                     PageCount{2 * block.value}};
};

/// Before the guest rests, and while it catches its breath: the guest goes on hinting, and each hint counts.
TEST_F(ASweep, C1_gives_back_all_that_is_hinted_whenever_the_hint_comes) {
    begin();
    unsigned nth = 0;
    for (; nth < 2; ++nth)
        hint(nth);
    while (nth < blocks) {
        run();
        ASSERT_TRUE(is_asked());
        if (nth < blocks)
            hint(nth++);
        rest(2ms);
        for (unsigned more = 0; more < 3 && nth < blocks; ++more)
            hint(nth++);
    }
    end_round();
    for (run(); !report_; run())
        rest();
    ASSERT_TRUE(*report_) << error();
    EXPECT_EQ(blocks_with_data(), 0U);
    EXPECT_EQ((*report_)->hinted, PageCount{block.value * blocks});
    EXPECT_EQ((*report_)->discarded, PageCount{block.value * blocks});
    EXPECT_FALSE((*report_)->cut);
    EXPECT_EQ(holds_, resumes_);
    EXPECT_EQ(hinting_.status().host_command, 1U) << "DONE: the guest has its pages back";
}

TEST_F(ASweep, C1_gives_back_what_was_hinted_before_a_round_that_ends_during_a_breath) {
    begin();
    hint(0);
    hint(1);
    run();
    rest(2ms);
    hint(2);
    end_round();
    for (run(); !report_; run())
        rest();
    ASSERT_TRUE(*report_) << error();
    EXPECT_EQ(blocks_with_data(), blocks - 3);
}

TEST_F(ASweep, LeavesWhatTheGuestHasWrittenSince) {
    begin();
    hint(0);
    writes_->write({pages(0).first, {1}}, data);
    hint(1);
    run();
    writes_->write({pages(1).first, {1}}, data);
    rest();
    end_round();
    ASSERT_TRUE(report_ && *report_) << error();
    EXPECT_FALSE(memory().is_zero(pages(0).first));
    EXPECT_FALSE(memory().is_zero(pages(1).first));
    EXPECT_EQ((*report_)->discarded, PageCount{2 * block.value - 2});
}

/// Linux clears what it hints (init_on_alloc).
TEST_F(ASweep, GivesBackWhatTheGuestHasCleared) {
    begin();
    writes_->write(pages(0), {});
    hint(0);
    end_round();
    run();
    writes_->write({pages(0).first, {1}}, data);
    rest();
    ASSERT_TRUE(report_ && *report_) << error();
    EXPECT_FALSE(memory().is_zero(pages(0).first)) << "written after the look";
    EXPECT_EQ((*report_)->discarded, PageCount{block.value - 1});
}

TEST_F(ASweep, HoldsNoGuestThatHintsNothing) {
    begin();
    end_round();
    ASSERT_TRUE(report_ && *report_) << error();
    EXPECT_EQ(holds_, 0U);
    EXPECT_EQ(resumes_, 0U);
}

TEST_F(ASweep, LetsTheGuestRunForAsLongAsItStoodStill) {
    begin();
    for (unsigned nth = 0; nth < 4; ++nth)
        hint(nth);
    run();
    rest(1h);
    EXPECT_EQ(resumes_, 1U);
    EXPECT_FALSE(is_asked()) << "an hour is not over";
    sweeper_.cancel("the test is over");
}

TEST_F(ASweep, C27_does_not_wait_for_a_driver_that_never_answers) {
    balloon::FreePageHinting hinting(memory(), loop_, counters_, 1h, 1ms);
    FakeQueue queue = fake_.queue(16, split_ring);
    hinting.attach(queue.device(), host_);
    Sweeper sweeper(loop_, memory(), tracker_, hinting, {.hold = [] {}, .resume = [] {}});
    std::string said;
    sweeper.start([&](const Result<SweepReport>& report) {
        said = report ? "it went well" : report.error().message;
        loop_.stop();
    });
    loop_.run();
    EXPECT_NE(said.find("does not answer"), std::string::npos) << said;
    EXPECT_FALSE(hinting.tracker().open());
}

TEST_F(ASweep, GivesBackWhatItHasWhenTheGuestResetsTheDevice) {
    begin();
    hint(0);
    hinting_.reset();
    ASSERT_TRUE(is_asked());
    rest();
    ASSERT_TRUE(report_ && *report_) << error();
    EXPECT_TRUE((*report_)->cut);
    EXPECT_EQ(blocks_with_data(), blocks - 1);
}

TEST_F(ASweep, FailsWithoutTheDriver) {
    hinting_.reset();
    start();
    EXPECT_NE(error(), "");
    EXPECT_EQ(resumes_, 0U);
}

TEST_F(ASweep, RefusesASecondOne) {
    begin();
    std::string said;
    sweeper_.start([&](const Result<SweepReport>& report) { said = report ? "" : report.error().message; });
    EXPECT_EQ(said, "a sweep is under way already");
    EXPECT_FALSE(report_);
    end_round();
    EXPECT_TRUE(report_);
}

TEST_F(ASweep, C3_ends_with_nothing_discarded_when_the_guest_does_not_come_to_rest) {
    begin();
    hint(0);
    hint(1);
    run();
    sweeper_.held(fail("the disk does not come to rest"));
    EXPECT_EQ(error(), "the disk does not come to rest");
    EXPECT_EQ(blocks_with_data(), blocks);
    EXPECT_EQ(resumes_, 1U) << "the order is taken back";
    EXPECT_FALSE(sweeper_.busy());
}

TEST_F(ASweep, C27_can_be_cancelled_while_it_waits_for_the_driver) {
    start();
    sweeper_.cancel("the VM is to be paused");
    EXPECT_EQ(error(), "the VM is to be paused");
    EXPECT_EQ(hinting_.status().host_command, 1U);
    hint(0);
    EXPECT_EQ(blocks_with_data(), blocks);
    EXPECT_EQ(holds_, 0U);
}

TEST_F(ASweep, C27_can_be_cancelled_while_it_waits_for_the_guest_to_rest) {
    begin();
    hint(0);
    hint(1);
    run();
    sweeper_.cancel("the VM is to be paused");
    EXPECT_EQ(error(), "the VM is to be paused");
    EXPECT_EQ(resumes_, 1U);
    rest(); // the answer was on its way
    EXPECT_EQ(blocks_with_data(), blocks);
    EXPECT_EQ(resumes_, 1U);
}

TEST_F(ASweep, C27_can_be_cancelled_while_the_guest_catches_its_breath) {
    begin();
    for (unsigned nth = 0; nth < 4; ++nth)
        hint(nth);
    run();
    rest(1h);
    sweeper_.cancel("the VM is to be paused");
    EXPECT_EQ(error(), "the VM is to be paused");
    EXPECT_EQ(blocks_with_data(), blocks - 2) << "what was given back is gone";
    EXPECT_EQ(holds_, 1U);
    EXPECT_EQ(resumes_, 1U);
}

TEST_F(ASweep, CanBeStartedAgainAfterItWasCancelled) {
    begin();
    hint(0);
    hint(1);
    run();
    sweeper_.cancel("once");
    report_.reset();
    rest(); // late, and of the first
    begin();
    rest(); // even later
    hint(0);
    end_round();
    run();
    ASSERT_TRUE(is_asked());
    EXPECT_EQ(blocks_with_data(), blocks);
    rest();
    ASSERT_TRUE(report_ && *report_) << error();
    EXPECT_EQ(blocks_with_data(), blocks - 1);
}

TEST_F(ASweep, S4_is_refused_by_the_host_and_the_guest_runs_on) {
    using aerate::testing::RefusingHost;
    for (const auto how_long : {RefusingHost::For::once, RefusingHost::For::good}) {
        ASSERT_TRUE(memory().fill(address_of(first), bytes_of({block.value * blocks}), data));
        const auto refusals = aerate::testing::for_each_refusal(
            how_long, [this] { return sweep(); },
            [this](auto& swept, std::uint64_t n) {
                EXPECT_FALSE(swept) << n;
                EXPECT_FALSE(sweeper_.busy()) << n;
                EXPECT_FALSE(hinting_.tracker().open()) << n;
                EXPECT_EQ(holds_, resumes_) << n;
                EXPECT_EQ(blocks_with_data(), blocks) << n << ": nothing is given back";
            });
        EXPECT_GE(refusals, 6U) << "five sets of pages, and the log's";
        EXPECT_EQ(blocks_with_data(), 0U) << "what was refused does not last";
    }
}

TEST_F(ASweep, CancelsNothingWhenNothingIsUnderWay) {
    sweeper_.cancel("nothing is under way");
    rest();
    EXPECT_FALSE(report_);
    EXPECT_EQ(resumes_, 0U);
}

} // namespace
} // namespace aerate
