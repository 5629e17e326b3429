#include "reclaim/testing/a_sweep.hpp"

namespace aerate {
namespace {

using namespace testing;

TEST_F(ASweep, ByContentGivesBackWhatReadsAsZeroWhileTheGuestIsHeld) {
    way_ = Sweeper::Way::by_content;
    writes_->write({first, {block.value * blocks}}, {});
    begin();
    hint(0);
    run();
    writes_->write({pages(0).first, {1}}, data); // it is not held so far
    rest();
    hint(1);
    end_round();
    for (run(); !report_; run())
        rest();
    ASSERT_TRUE(*report_) << error();
    EXPECT_EQ((*report_)->read, PageCount{2 * block.value});
    EXPECT_EQ((*report_)->zero, PageCount{2 * block.value - 1});
    EXPECT_EQ((*report_)->discarded, PageCount{2 * block.value - 1});
    EXPECT_FALSE(memory().is_zero(pages(0).first));
    EXPECT_EQ(memory().resident_within(bits({first, {2 * block.value}})), PageCount{1});
    EXPECT_EQ(writes_->logs(), 0U) << "nothing was write-protected";
}

TEST_F(ASweep, ByContentEndsEarlyWhenMostOfWhatIsHintedHoldsSomething) {
    way_ = Sweeper::Way::by_content;
    begin();
    hint(0);
    hint(1);
    run();
    rest();
    ASSERT_TRUE(report_ && *report_) << "after one batch: " << error();
    EXPECT_EQ((*report_)->zero, PageCount{});
    EXPECT_EQ(holds_, resumes_);
    EXPECT_EQ(blocks_with_data(), blocks);
    EXPECT_EQ(hinting_.status().host_command, 1U) << "DONE: the guest has its pages back";
}

} // namespace
} // namespace aerate
