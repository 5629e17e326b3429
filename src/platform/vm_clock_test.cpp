#include "platform/vm_clock.hpp"

#include <gtest/gtest.h>

namespace aerate {
namespace {

using namespace literals;

constexpr GuestAddress where{0xfe000};

class VmClockTest : public ::testing::Test {
protected:
    template <typename T>
    [[nodiscard]] T at(std::uint64_t offset) const {
        return memory.load<T>({where.value + offset}).value();
    }
    GuestMemory memory = GuestMemory::create({.regions = {{{0}, 2_MiB}}}).value();
    VmClock clock{memory, where};
};

TEST_F(VmClockTest, HasTheLayoutOfLinux) {
    ASSERT_TRUE(clock.begin());
    EXPECT_EQ(at<std::uint32_t>(0), 0x4b4c4356U);
    EXPECT_EQ(at<std::uint32_t>(4), 4096U);
    EXPECT_EQ(at<std::uint16_t>(8), 1U);
    EXPECT_EQ(at<std::uint8_t>(10), 255U) << "no counter, so no time";
    EXPECT_EQ(at<std::uint64_t>(24), 256U) << "VM_GEN_COUNTER_PRESENT";
    EXPECT_EQ(at<std::uint8_t>(34), 0U) << "status unknown";
}

TEST_F(VmClockTest, CountsMovesAndCopies) {
    ASSERT_TRUE(clock.begin());
    for (std::uint64_t round = 1; round < 4; ++round) {
        clock.disrupted(false);
        clock.disrupted(true);
        EXPECT_EQ(at<std::uint64_t>(16), 2 * round);
        EXPECT_EQ(at<std::uint64_t>(104), round) << "by one for each restore, and not for a move";
        EXPECT_EQ(at<std::uint32_t>(12) % 2, 0U) << "what is there is whole";
        EXPECT_EQ(at<std::uint32_t>(12), 4 * round);
    }
}

TEST_F(VmClockTest, AGuestThatWasBootedWithoutItIsLeftAlone) {
    clock.disrupted(true);
    EXPECT_TRUE(memory.is_zero(frame_of(where)));
}

TEST_F(VmClockTest, APageThatTheGuestHasWrittenHarmsNobody) {
    ASSERT_TRUE(clock.begin());
    ASSERT_TRUE(memory.fill({where.value + 12}, ByteCount{100}, std::byte{0xff}));
    clock.disrupted(true);
    EXPECT_EQ(at<std::uint64_t>(104), 0U);
}

} // namespace
} // namespace aerate
