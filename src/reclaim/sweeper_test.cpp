#include "base/testing/refusing_host.hpp"
#include "reclaim/testing/a_sweep.hpp"

namespace aerate {
namespace {

using namespace testing;

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
    sweeper.start(Sweeper::Way::by_log, [&](const Result<SweepReport>& report) {
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
    sweeper_.start(way_, [&](const Result<SweepReport>& report) { said = report ? "" : report.error().message; });
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
        EXPECT_GE(refusals, 7U) << "six sets of pages, and the log's";
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
