#include "balloon/free_page_reporting.hpp"
#include "balloon/testing/balloon_guest.hpp"

#include <gtest/gtest.h>

namespace aerate::balloon {
namespace {

using namespace testing;

constexpr GuestAddress base{4ULL << 30};
constexpr FrameNumber first = frame_of(base);

struct ReportingTest : ::testing::Test, BalloonGuest {};

TEST_F(ReportingTest, DiscardsAChainOfBlocks) {
    start();
    fill({first, {2048}});
    EXPECT_EQ(send(Queue::reporting, {writable_at(base, 2U << 20), writable_at({base.value + (4U << 20)}, 2U << 20)}),
              0U);
    EXPECT_EQ(first_byte(first), 0U);
    EXPECT_EQ(first_byte({first.value + 512}), 0xaaU);
    EXPECT_EQ(first_byte({first.value + 1024}), 0U);
    EXPECT_EQ(balloon.counters().reported, PageCount{1024});
    EXPECT_EQ(balloon.memory_state().reported, PageCount{1024});
    EXPECT_EQ(host.interrupts, std::vector{index(Queue::reporting)});
}

TEST_F(ReportingTest, B9_Ranges) {
    struct Case {
        const char* what;
        GuestAddress address;
        std::uint32_t length;
        std::uint64_t discarded;
    };
    const Case cases[]{
        {"empty", base, 0, 0},
        {"less than a page", {base.value + 1}, 4096, 0},
        {"trimmed at both ends", {base.value + 1}, 3 * 4096, 2},
        {"4 GiB from the start of RAM", {0}, 0xffff'ffff, 0x1000},
        {"over the end", {base.value + (16U << 20) - 4096}, 0x10000, 1},
        {"over the hole", {(16U << 20) - 4096}, 0x10000, 1},
        {"in the hole", {1U << 30}, 0x10000, 0},
        {"wrapping", {0xffff'ffff'ffff'f000}, 0x10000, 0},
        {"last page of the address space", {0xffff'ffff'ffff'e000}, 0x1000, 0},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.what);
        BalloonGuest guest;
        guest.start();
        guest.add(Queue::reporting, {writable_at(c.address, c.length)});
        guest.kick(Queue::reporting);
        EXPECT_EQ(guest.balloon.counters().reported.value, c.discarded);
        EXPECT_EQ(guest.balloon.memory_state().reported.value, c.discarded);
    }
}

TEST_F(ReportingTest, B9_ALongRingIsServedInBoundedTurns) {
    constexpr std::uint16_t chains = 5000;
    FakeQueue long_queue(fake.allocator(), 8192, split_ring);
    for (std::uint32_t i = 0; i < chains; ++i)
        long_queue.add({writable_at({base.value + i % 512 * 8192ULL}, 4096)});
    PageStates states = *PageStates::create(fake.memory().address_space());
    Counters counters;
    FreePageReporting reporting(fake.memory(), states, counters);
    const auto more = reporting.serve(long_queue.device(), ReportedContent::undefined_or_zero);
    EXPECT_TRUE(more && *more);
    EXPECT_EQ(long_queue.device().completed(), 4096U);
    const auto rest = reporting.serve(long_queue.device(), ReportedContent::undefined_or_zero);
    EXPECT_TRUE(rest && !*rest);
    EXPECT_EQ(long_queue.device().completed(), chains);
    EXPECT_EQ(states.reported.count(), PageCount{512});
}

TEST_F(ReportingTest, B9_NeverOutsideTheRegion) {
    start();
    fill({{0}, {16}});
    EXPECT_EQ(send(Queue::reporting, {writable_at({base.value + (16U << 20) - 4096}, 8192)}), 0U);
    EXPECT_EQ(skips(SkipReason::frame_outside_ram), 1U);
}

TEST_F(ReportingTest, ReadableBuffersAreNotReports) {
    start();
    fill({first, {1}});
    EXPECT_EQ(send(Queue::reporting, {readable_at(base, 4096)}), 0U);
    EXPECT_EQ(first_byte(first), 0xaaU);
    EXPECT_EQ(skips(SkipReason::wrong_direction), 1U);
}

TEST_F(ReportingTest, B16_PoisonValue) {
    struct Case {
        bool negotiated;
        std::uint32_t value;
        bool discarded;
    };
    for (const Case& c :
         {Case{true, 0, true}, Case{true, 0xaaaa'aaaa, false}, Case{false, 0, true}, Case{false, 0xaaaa'aaaa, true}}) {
        BalloonGuest guest;
        const auto features = guest.balloon.offered_features().with(feature::page_poison, c.negotiated);
        guest.negotiated = features;
        guest.write_config(12, c.value);
        guest.start(features);
        guest.fill({first, {1}});
        EXPECT_EQ(guest.send(Queue::reporting, {writable_at(base, 4096)}), 0U);
        EXPECT_EQ(guest.first_byte(first), c.discarded ? 0U : 0xaaU);
        EXPECT_EQ(guest.skips(SkipReason::page_poison), c.discarded ? 0U : 1U);
    }
}

TEST_F(ReportingTest, B16_PoisonValueIsFrozenAtDriverOk) {
    start();
    write_config(12, 0xaaaa'aaaa);
    EXPECT_EQ(config(12), 0U);
    fill({first, {1}});
    EXPECT_EQ(send(Queue::reporting, {writable_at(base, 4096)}), 0U);
    EXPECT_EQ(first_byte(first), 0U);
}

} // namespace
} // namespace aerate::balloon
