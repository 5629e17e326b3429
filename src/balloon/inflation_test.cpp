#include "balloon/host_pages.hpp"
#include "balloon/inflation.hpp"
#include "balloon/testing/balloon_guest.hpp"

#include <gtest/gtest.h>

namespace aerate::balloon {
namespace {

using namespace testing;

/// Frames of the fake guest that hold neither rings nor buffers.
constexpr std::uint32_t high = 0x10'0000; // 4 GiB
constexpr std::uint32_t high_end = high + 4096;
constexpr std::uint32_t hole = 0x8'0000;

struct InflationTest : ::testing::Test, BalloonGuest {
    void check_counter() const { EXPECT_EQ(balloon.memory_state().ballooned, balloon.page_states().ballooned.count()); }
};

TEST_F(InflationTest, GivesPagesUpBeforeTheBufferIsUsed) {
    start();
    fill({{high}, {16}});
    EXPECT_EQ(send(Queue::inflate, {frames({high + 3, high + 4, high + 5})}), 0U);
    EXPECT_EQ(first_byte({high + 2}), 0xaaU);
    EXPECT_EQ(first_byte({high + 3}), 0U);
    EXPECT_EQ(first_byte({high + 5}), 0U);
    EXPECT_EQ(first_byte({high + 6}), 0xaaU);
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{3});
    EXPECT_EQ(balloon.counters().discarded, PageCount{3});
    EXPECT_EQ(host.interrupts, std::vector{index(Queue::inflate)});

    EXPECT_EQ(send(Queue::deflate, {frames({high + 4})}), 0U);
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{2});
    EXPECT_FALSE(balloon.page_states().ballooned.test({high + 4}));
    check_counter();
}

TEST_F(InflationTest, ABatchOfChainsIsOneDiscardAndOneInterrupt) {
    start();
    // Descending, shuffled between chains, contiguous as a whole.
    add(Queue::inflate, {frames({high + 9, high + 8, high + 7})});
    add(Queue::inflate, {frames({high + 1, high + 2, high + 3})});
    add(Queue::inflate, {frames({high + 6, high + 4, high + 5})});
    kick(Queue::inflate);
    for (int i = 0; i < 3; ++i)
        EXPECT_TRUE(queue(Queue::inflate).take_used());
    EXPECT_EQ(balloon.counters().discarded, PageCount{9});
    EXPECT_EQ(balloon.counters().discard_calls, 1U);
    EXPECT_EQ(host.interrupts.size(), 1U);
}

TEST_F(InflationTest, FrameSplitAcrossBuffers) {
    start();
    const std::array<std::uint32_t, 3> list{high, high + 7, high + 9};
    const auto bytes = std::as_bytes(std::span(list));
    EXPECT_EQ(
        send(Queue::inflate, {readable(bytes.first(5)), readable(bytes.subspan(5, 1)), readable(bytes.subspan(6))}),
        0U);
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{3});
    EXPECT_TRUE(balloon.page_states().ballooned.test({high + 7}));
}

TEST_F(InflationTest, B1_B2_FramesThatAreNotRam) {
    start();
    const std::uint32_t list[]{high_end, 0xffff'ffff, 0x8000'0000, hole, 4096};
    for (const std::uint32_t frame : list) {
        EXPECT_EQ(send(Queue::inflate, {frames({frame})}), 0U);
        EXPECT_EQ(send(Queue::deflate, {frames({frame})}), 0U);
    }
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{0});
    EXPECT_EQ(skips(SkipReason::frame_outside_ram), 2 * std::size(list));
    EXPECT_EQ(balloon.counters().discarded, PageCount{0});
    // A run over the end is cut there.
    EXPECT_EQ(send(Queue::inflate, {frames({high_end - 1, high_end, high_end + 1})}), 0U);
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{1});
    check_counter();
}

TEST_F(InflationTest, B3_RepetitionsAreIdempotent) {
    start();
    EXPECT_EQ(send(Queue::inflate, {frames({high, high, high + 1, high})}), 0U);
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{2});
    EXPECT_EQ(send(Queue::inflate, {frames({high + 1, high})}), 0U);
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{2});
    EXPECT_EQ(balloon.counters().inflated, PageCount{2});
    EXPECT_EQ(send(Queue::deflate, {frames({high + 5, high, high})}), 0U);
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{1});
    EXPECT_EQ(balloon.counters().deflated, PageCount{1});
    check_counter();
}

TEST_F(InflationTest, B4_Lengths) {
    start();
    EXPECT_EQ(send(Queue::inflate, {readable_at({4ULL << 30}, 0)}), 0U);
    EXPECT_EQ(send(Queue::inflate, {readable(std::uint16_t{7})}), 0U);
    EXPECT_EQ(skips(SkipReason::bad_length), 2U);
    EXPECT_EQ(send(Queue::inflate, {readable_at({4ULL << 30}, 0xffff'fffc)}), 0U);
    EXPECT_EQ(skips(SkipReason::oversized), 1U);
    EXPECT_EQ(send(Queue::inflate, {readable_at({2ULL << 30}, 8)}), 0U);
    EXPECT_EQ(skips(SkipReason::buffer_outside_ram), 1U);
    EXPECT_EQ(send(Queue::inflate, {writable(8)}), 0U);
    EXPECT_EQ(skips(SkipReason::wrong_direction), 1U);
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{0});
}

TEST_F(InflationTest, B4_MoreFramesThanLinuxSends) {
    start();
    // Every second page, so that each is a run of its own; and more than one part of a batch holds.
    std::vector<std::uint32_t> list;
    for (std::uint32_t round = 0; round < 9; ++round)
        for (std::uint32_t frame = high; frame < high_end; frame += 2)
            list.push_back(frame);
    ASSERT_GT(list.size(), 1U << 14);
    queue(Queue::inflate).add({readable(std::as_bytes(std::span(list)))});
    kick(Queue::inflate);
    ASSERT_TRUE(queue(Queue::inflate).take_used());
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{2048});
    check_counter();
}

TEST_F(InflationTest, ATurnIsBounded) {
    start();
    const GuestAddress zeros = fake.allocate({1U << 20});
    for (int i = 0; i < 4; ++i)
        add(Queue::inflate, {readable_at(zeros, 1U << 17)});
    kick(Queue::inflate);
    EXPECT_TRUE(queue(Queue::inflate).take_used());
    EXPECT_TRUE(queue(Queue::inflate).take_used());
    EXPECT_FALSE(queue(Queue::inflate).take_used());
    EXPECT_EQ(host.kicks_again, std::vector{index(Queue::inflate)});
}

TEST_F(InflationTest, B13_TheRingItself) {
    start();
    const auto ring = frame_of(queue(Queue::inflate).registers().descriptors);
    add(Queue::inflate, {frames({static_cast<std::uint32_t>(ring.value)})});
    kick(Queue::inflate);
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{1});
    kick(Queue::inflate);
    kick(Queue::inflate);
}

TEST_F(InflationTest, InflatedPagesAreNoLongerReported) {
    start();
    send(Queue::reporting, {writable_at(address_of({high}), 8192)});
    EXPECT_EQ(balloon.memory_state().reported, PageCount{2});
    send(Queue::inflate, {frames({high})});
    EXPECT_EQ(balloon.memory_state().reported, PageCount{1});
}

TEST_F(InflationTest, ResetForgetsThePages) {
    start();
    fill({{high}, {2}});
    send(Queue::inflate, {frames({high})});
    write_config(4, 1);
    balloon.reset();
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{0});
    EXPECT_EQ(balloon.actual(), PageCount{0});
    check_counter();
    balloon.kicked({0});
    start();
    EXPECT_EQ(send(Queue::deflate, {frames({high})}), 0U);
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{0});
    EXPECT_EQ(first_byte({high + 1}), 0xaaU);
}

TEST(HostPages, B5_OnlyCompleteOnes) {
    constexpr PageCount step{512};
    PageBitmap ballooned(PageCount{2048});
    const auto inflate = [&](std::uint64_t first, std::uint64_t count) {
        ballooned.set({{first}, {count}});
        return complete_host_pages(std::array{PageRange{{first}, {count}}}, ballooned, step);
    };
    // Linux sends 256 PFNs a buffer: two buffers make a host page, in either order.
    EXPECT_TRUE(inflate(256, 256).empty());
    EXPECT_EQ(inflate(0, 256), (std::vector{PageRange{{0}, step}}));
    EXPECT_TRUE(inflate(512, 511).empty());
    EXPECT_EQ(inflate(1023, 1), (std::vector{PageRange{{512}, step}}));
    ballooned.clear({{600}, {1}});
    EXPECT_TRUE(inflate(700, 10).empty()) << "partly taken back";
    EXPECT_EQ(inflate(600, 1), (std::vector{PageRange{{512}, step}}));
    EXPECT_EQ(inflate(1000, 600), (std::vector{PageRange{{512}, step}, PageRange{{1024}, step}}));
}

TEST(HostPages, B5_SeveralRangesInOneHostPage) {
    PageBitmap ballooned(PageCount{1024});
    ballooned.set({{0}, {512}});
    const std::array changed{PageRange{{0}, {1}}, PageRange{{5}, {3}}, PageRange{{511}, {1}}};
    EXPECT_EQ(complete_host_pages(changed, ballooned, {512}), (std::vector{PageRange{{0}, {512}}}));
}

} // namespace
} // namespace aerate::balloon
