#include "platform/vm_clock.hpp"

#include <gtest/gtest.h>

namespace aerate {
namespace {

using namespace literals;

constexpr GuestAddress where{0xfe000};

using Change = VmClock::Change;

VmClock::Time time(std::uint64_t tsc, std::uint64_t realtime, std::uint32_t khz) {
    return {.tsc = tsc,
            .realtime = realtime,
            .khz = khz,
            .discipline = {.faster = 0,
                           .synchronized = true,
                           .estimated_error = std::chrono::microseconds(3),
                           .largest_error = std::chrono::milliseconds(8)}};
}

class VmClockTest : public ::testing::Test {
protected:
    /// Returns what Linux makes of the page when its TSC says so (ptp_vmclock.c), in nanoseconds since 1970.
    [[nodiscard]] double read_by(std::uint64_t tsc) const {
        __extension__ using Wide = unsigned __int128;
        const Wide passed = Wide{tsc - at<std::uint64_t>(40)} * at<std::uint64_t>(48) >> at<std::uint8_t>(39);
        const Wide sum = passed + at<std::uint64_t>(80);
        const auto fraction = static_cast<std::uint64_t>(Wide{static_cast<std::uint64_t>(sum)} * 1'000'000'000 >> 64);
        return double(at<std::uint64_t>(72) + static_cast<std::uint64_t>(sum >> 64)) * 1e9 + double(fraction);
    }
    template <typename T>
    [[nodiscard]] T at(std::uint64_t offset) const {
        return memory.load<T>({where.value + offset}).value();
    }
    GuestMemory memory = GuestMemory::create({.regions = {{{0}, 2_MiB}}}).value();
    VmClock clock{memory, where};
};

TEST_F(VmClockTest, HasTheLayoutOfLinux) {
    ASSERT_TRUE(clock.begin(std::nullopt));
    EXPECT_EQ(at<std::uint32_t>(0), 0x4b4c4356U);
    EXPECT_EQ(at<std::uint32_t>(4), 4096U);
    EXPECT_EQ(at<std::uint16_t>(8), 1U);
    EXPECT_EQ(at<std::uint8_t>(10), 255U) << "no counter, so no time";
    EXPECT_EQ(at<std::uint64_t>(24), 256U) << "VM_GEN_COUNTER_PRESENT";
    EXPECT_EQ(at<std::uint8_t>(34), 0U) << "status unknown";
}

TEST_F(VmClockTest, CountsMovesAndCopies) {
    ASSERT_TRUE(clock.begin(std::nullopt));
    for (std::uint64_t round = 1; round < 4; ++round) {
        clock.update(Change::moved, std::nullopt);
        clock.update(Change::copied, std::nullopt);
        clock.update(Change::none, std::nullopt);
        EXPECT_EQ(at<std::uint64_t>(16), 2 * round);
        EXPECT_EQ(at<std::uint64_t>(104), round) << "by one for each restore, and not for a move";
        EXPECT_EQ(at<std::uint32_t>(12) % 2, 0U) << "what is there is whole";
        EXPECT_EQ(at<std::uint32_t>(12), 6 * round);
    }
}

TEST_F(VmClockTest, C9_TellsTheTimeByTheTsc) {
    const VmClock::Time now = time(1'000'000, 1'796'033'434'514'469'737, 2'300'000);
    ASSERT_TRUE(clock.begin(now));
    EXPECT_EQ(at<std::uint8_t>(10), 1U) << "X86_TSC";
    EXPECT_EQ(at<std::uint8_t>(11), 0U) << "UTC";
    EXPECT_EQ(at<std::uint8_t>(34), 2U) << "synchronized";
    EXPECT_EQ(at<std::uint64_t>(24), 256U + 16 + 32 + 64) << "with its errors";
    EXPECT_EQ(at<std::uint64_t>(88), 3'000U) << "estimated";
    EXPECT_EQ(at<std::uint64_t>(96), 8'000'000U) << "at most";
    EXPECT_NEAR(read_by(now.tsc), double(now.realtime), 1000);
    const std::uint64_t hour = 3600ULL * 2'300'000'000;
    EXPECT_NEAR(read_by(now.tsc + hour) - double(now.realtime), 3600e9, 2000);
}

TEST_F(VmClockTest, AnyRateOfTscIsRight) {
    for (const std::uint32_t khz : {1U, 1'000U, 999'999U, 2'097'152U, 2'097'151U, 3'700'000U, 4'294'967'295U}) {
        ASSERT_TRUE(clock.begin(time(77, 5'000'000'000, khz)));
        EXPECT_NEAR(read_by(77 + 100'000ULL * khz), 105e9, 2000) << khz; // a hundred seconds later
    }
}

TEST_F(VmClockTest, TheRateIsTheOneThatTheHostCorrects) {
    for (const std::int64_t millionths : {-500, 0, 37, 500}) {
        VmClock::Time now = time(0, 0, 2'300'000);
        now.discipline.faster = millionths << 16;
        ASSERT_TRUE(clock.begin(now));
        const double hour = read_by(3600ULL * 2'300'000'000);
        EXPECT_NEAR(hour, 3600e9 * (1 + double(millionths) * 1e-6), 3000) << millionths;
    }
}

TEST_F(VmClockTest, AClockThatNobodyKeepsRightSaysSo) {
    VmClock::Time now = time(0, 0, 2'300'000);
    now.discipline.synchronized = false;
    ASSERT_TRUE(clock.begin(now));
    EXPECT_EQ(at<std::uint8_t>(34), 3U) << "free running";
    EXPECT_EQ(at<std::uint64_t>(24), 256U + 16) << "no bound to its error";
}

TEST_F(VmClockTest, AHostThatHasNoTimeMakesItUnreliable) {
    ASSERT_TRUE(clock.begin(time(0, 0, 2'300'000)));
    clock.update(Change::moved, std::nullopt);
    EXPECT_EQ(at<std::uint8_t>(34), 4U) << "unreliable";
    EXPECT_EQ(at<std::uint64_t>(24), 256U);
    clock.update(Change::moved, time(9, 10'000'000'000, 3'000'000));
    EXPECT_EQ(at<std::uint8_t>(34), 2U);
    EXPECT_NEAR(read_by(9), 10e9, 10);
}

TEST_F(VmClockTest, AGuestThatBootedWithoutTimeIsGivenNone) {
    ASSERT_TRUE(clock.begin(std::nullopt));
    clock.update(Change::copied, time(9, 10'000'000'000, 3'000'000));
    EXPECT_EQ(at<std::uint8_t>(10), 255U) << "this field is constant";
    EXPECT_EQ(at<std::uint8_t>(34), 0U);
    EXPECT_EQ(at<std::uint64_t>(40), 0U);
}

TEST_F(VmClockTest, AGuestThatWasBootedWithoutItIsLeftAlone) {
    clock.update(Change::copied, time(9, 10'000'000'000, 3'000'000));
    EXPECT_TRUE(memory.is_zero(frame_of(where)));
}

TEST_F(VmClockTest, APageThatTheGuestHasWrittenHarmsNobody) {
    ASSERT_TRUE(clock.begin(std::nullopt));
    ASSERT_TRUE(memory.fill({where.value + 12}, ByteCount{100}, std::byte{0xff}));
    clock.update(Change::copied, time(9, 10'000'000'000, 3'000'000));
    EXPECT_EQ(at<std::uint64_t>(104), 0U);
}

} // namespace
} // namespace aerate
