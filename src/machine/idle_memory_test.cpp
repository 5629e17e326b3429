#include "balloon/config_space.hpp"
#include "balloon/testing/balloon_guest.hpp"
#include "machine/idle_memory.hpp"

#include <gtest/gtest.h>

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

} // namespace
} // namespace aerate
