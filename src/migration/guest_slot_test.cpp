#include "migration/guest_slot.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

namespace aerate::migration {
namespace {

using namespace std::chrono_literals;

class FakeCandidate final : public GuestSlot::Candidate {
public:
    explicit FakeCandidate(std::chrono::milliseconds idle = 0ms)
        : idle_(idle) {}
    [[nodiscard]] std::chrono::milliseconds idle() const override { return idle_; }
    void evict() override { told_.set_value(); }
    void wait_until_told() { told_.get_future().wait(); }
    [[nodiscard]] bool was_told() { return told_.get_future().wait_for(0s) == std::future_status::ready; }

private:
    std::chrono::milliseconds idle_;
    std::promise<void> told_;
};

constexpr auto patience = 10s;

TEST(GuestSlot, WhoGetsSomewhereKeepsThePlace) {
    GuestSlot slot(patience, 0ms);
    FakeCandidate first(9s);
    FakeCandidate second;
    ASSERT_TRUE(slot.claim(first));
    EXPECT_FALSE(slot.claim(second));
    slot.reject(first);
    EXPECT_FALSE(first.was_told());
    EXPECT_FALSE(slot.leave(second));
    EXPECT_TRUE(slot.is_holder(first));
    EXPECT_TRUE(slot.leave(first));
    EXPECT_TRUE(slot.claim(second));
}

TEST(GuestSlot, S10_WhoGetsNowhereLosesThePlaceToTheNext) {
    GuestSlot slot(patience, 1h);
    FakeCandidate stranger(11s);
    FakeCandidate next;
    ASSERT_TRUE(slot.claim(stranger));
    std::future<Result<>> claimed = std::async(std::launch::async, [&] { return slot.claim(next); });
    stranger.wait_until_told();
    slot.set_busy(true); // its machine is being dropped
    EXPECT_TRUE(slot.leave(stranger));
    EXPECT_FALSE(slot.is_holder(next));
    slot.set_busy(false);
    EXPECT_TRUE(claimed.get());
    EXPECT_TRUE(slot.is_holder(next));
}

TEST(GuestSlot, AClosedOneLetsNobodyInAndKeepsNobodyWaiting) {
    GuestSlot slot(patience, 1h);
    FakeCandidate stranger(11s);
    FakeCandidate next;
    ASSERT_TRUE(slot.claim(stranger));
    std::future<Result<>> claimed = std::async(std::launch::async, [&] { return slot.claim(next); });
    stranger.wait_until_told();
    EXPECT_EQ(slot.close(), &stranger);
    EXPECT_FALSE(claimed.get());
    EXPECT_TRUE(slot.leave(stranger));
    EXPECT_FALSE(slot.claim(next));
    EXPECT_EQ(slot.close(), nullptr);
}

} // namespace
} // namespace aerate::migration
