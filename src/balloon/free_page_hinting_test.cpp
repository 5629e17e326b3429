#include "balloon/counting_sink.hpp"
#include "balloon/free_page_hinting.hpp"
#include "balloon/testing/balloon_guest.hpp"

#include <gtest/gtest.h>

namespace aerate::balloon {
namespace {

using namespace testing;
using namespace std::chrono_literals;

constexpr GuestAddress base{4ULL << 30};
constexpr FrameNumber first = frame_of(base);
constexpr std::uint32_t block = 4U << 20;

FakeBuffer command(std::uint32_t value) {
    return readable(value);
}
FakeBuffer hint(std::uint32_t nth) {
    return writable_at({base.value + std::uint64_t{nth} * block}, block);
}

struct HintingTest : ::testing::Test, BalloonGuest {
    CommandId begin(OnGuestStop on_stop = OnGuestStop::hold) { return balloon.hinting().start(sink, on_stop); }
    void send_hinting(std::initializer_list<FakeBuffer> chain) {
        EXPECT_EQ(send(Queue::hinting, chain), 0U) << "every chain comes back, with nothing written";
    }
    CountingSink sink{PageBitmap(fake.memory().address_space())};
};

TEST_F(HintingTest, ARoundOfLinux) {
    start();
    fill({first, {1}});
    const CommandId id = begin(OnGuestStop::done);
    EXPECT_EQ(config(8), id.value);
    EXPECT_EQ(host.config_changes, 1U);
    send_hinting({command(id.value)});
    EXPECT_EQ(config(8), id.value);
    send_hinting({hint(0)});
    send_hinting({hint(1)});
    EXPECT_EQ(balloon.hinting().status().guest_command, id.value);
    send_hinting({command(0)});
    EXPECT_TRUE(sink.ended());
    EXPECT_EQ(sink.unique(), PageCount{2048});
    EXPECT_EQ(balloon.memory_state().hinted, PageCount{2048});
    EXPECT_EQ(config(8), 1U) << "DONE at once";
    EXPECT_EQ(host.config_changes, 2U);
    EXPECT_EQ(first_byte(first), 0xaaU) << "a hint never discards";
}

TEST_F(HintingTest, ADriverThatReportsWhenAskedIsKnownByIt) {
    start();
    const auto round = [&](auto answer) {
        const CommandId id = begin(OnGuestStop::done);
        send_hinting({command(id.value)});
        answer();
        send_hinting({command(0)});
        return balloon.hinting().answered_by_reports();
    };
    EXPECT_FALSE(round([] {})) << "that says nothing";
    EXPECT_TRUE(round([&] { send(Queue::reporting, {hint(0)}); }));
    EXPECT_TRUE(round([] {})) << "all was reported before";
    EXPECT_FALSE(round([&] {
        send(Queue::reporting, {hint(1)}); // as every driver does, in its own time
        send_hinting({hint(0)});
    }));
    EXPECT_TRUE(round([&] { send(Queue::reporting, {hint(2)}); }));
    balloon.hinting().reset();
    EXPECT_FALSE(balloon.hinting().answered_by_reports()) << "another driver may be next";
}

TEST_F(HintingTest, TheGuestHoldsUntilDone) {
    start();
    const CommandId id = begin(OnGuestStop::hold);
    send_hinting({command(id.value)});
    send_hinting({command(0)});
    EXPECT_EQ(config(8), 0U);
    balloon.hinting().done();
    EXPECT_EQ(config(8), 1U);
}

TEST_F(HintingTest, StopAndDoneTakeEffectAtOnce) {
    for (const bool done : {false, true}) {
        BalloonGuest guest;
        CountingSink counted(PageBitmap(guest.fake.memory().address_space()));
        guest.start();
        const CommandId id = guest.balloon.hinting().start(counted);
        guest.add(Queue::hinting, {command(id.value)});
        guest.add(Queue::hinting, {hint(0)});
        guest.kick(Queue::hinting);
        guest.add(Queue::hinting, {hint(1)});
        if (done)
            guest.balloon.hinting().done();
        else
            guest.balloon.hinting().stop();
        guest.kick(Queue::hinting);
        EXPECT_EQ(counted.unique(), PageCount{1024});
        EXPECT_EQ(guest.config(8), done ? 1U : 0U);
        EXPECT_EQ(guest.skips(SkipReason::hint_without_command), 1U);
        EXPECT_FALSE(counted.ended());
    }
}

// Linux lets all command buffers point at one word: one that was queued for an old round shows the new ID.
TEST_F(HintingTest, AnOldCommandBufferThatShowsTheNewId) {
    start();
    const GuestAddress word = fake.allocate({4});
    const CommandId old = begin();
    ASSERT_TRUE(fake.memory().store<std::uint32_t>(word, old.value));
    add(Queue::hinting, {readable_at(word, 4)});
    add(Queue::hinting, {hint(0)});
    // Nothing was processed yet when the next round begins.
    const CommandId next = begin();
    ASSERT_TRUE(fake.memory().store<std::uint32_t>(word, next.value));
    add(Queue::hinting, {readable_at(word, 4)});
    add(Queue::hinting, {hint(1)});
    kick(Queue::hinting);
    EXPECT_EQ(balloon.counters().stale_hint_chains, 2U);
    EXPECT_EQ(sink.unique(), PageCount{1024});
    EXPECT_FALSE(sink.pages().test(first)) << "a hint of the old round";
    EXPECT_TRUE(sink.pages().test({first.value + 1024}));
}

TEST_F(HintingTest, B10_DirectionDecides) {
    start();
    CommandId id = begin();
    // A four-byte range is a range, though one without a whole page.
    send_hinting({command(id.value)});
    send_hinting({writable_at(base, 4)});
    EXPECT_EQ(skips(SkipReason::no_whole_page), 1U);
    send_hinting({hint(0)});
    EXPECT_EQ(sink.unique(), PageCount{1024});
    // A page range as readable is a command of the wrong length.
    send_hinting({readable_at(base, block)});
    EXPECT_EQ(skips(SkipReason::bad_length), 1U);
    EXPECT_TRUE(sink.ended());
    EXPECT_EQ(config(8), 0U) << "the round is cut";
    send_hinting({command(id.value)});
    send_hinting({hint(1)});
    EXPECT_EQ(sink.unique(), PageCount{1024});

    for (const std::uint32_t length : {0U, 1U, 3U, 5U, 8U}) {
        id = begin();
        send_hinting({command(id.value)});
        send_hinting({readable_at(base, length)});
        send_hinting({hint(1)});
        EXPECT_EQ(sink.unique(), PageCount{1024}) << length;
    }
    id = begin();
    send_hinting({command(id.value)});
    send_hinting({readable_at({2ULL << 30}, 4)});
    EXPECT_EQ(skips(SkipReason::buffer_outside_ram), 1U);
    EXPECT_EQ(config(8), 0U);
    EXPECT_EQ(balloon.counters().hint_rounds_cut, 7U);
}

TEST_F(HintingTest, B10_CommandAndRangesInOneChain) {
    start();
    const CommandId id = begin();
    const auto bytes = std::as_bytes(std::span(&id.value, 1));
    send_hinting({readable(bytes.first(1)), readable(bytes.subspan(1)), hint(0), hint(1)});
    EXPECT_EQ(sink.unique(), PageCount{2048});
}

TEST_F(HintingTest, B11_IdsOfOthers) {
    start();
    send_hinting({command(2)});
    send_hinting({hint(0)});
    const CommandId id = begin();
    for (const std::uint32_t wrong : {0U, 1U, id.value - 1, id.value + 1, 0xffff'ffffU}) {
        send_hinting({command(wrong)});
        send_hinting({hint(0)});
    }
    EXPECT_EQ(sink.ranges(), 0U);
    send_hinting({command(id.value)});
    send_hinting({command(id.value)});
    EXPECT_EQ(skips(SkipReason::repeated_command), 1U);
    send_hinting({hint(0)});
    EXPECT_EQ(sink.ranges(), 1U);
}

TEST_F(HintingTest, B12_Budget) {
    start();
    const CommandId id = begin();
    send_hinting({command(id.value)});
    // 32 MiB of RAM and a quarter, in blocks of 4 MiB.
    for (int i = 0; i < 20; ++i)
        send_hinting({hint(0)});
    EXPECT_EQ(sink.ranges(), 10U);
    EXPECT_EQ(sink.unique(), PageCount{1024});
    EXPECT_EQ(skips(SkipReason::over_budget), 1U);
    EXPECT_TRUE(sink.ended());
    EXPECT_EQ(config(8), 0U);
}

TEST_F(HintingTest, B12_TimeLimit) {
    Counters counters;
    FreePageHinting hinting(fake.memory(), loop, counters, 1ms);
    FakeQueue hint_queue = fake.queue(16, split_ring);
    hinting.attach(hint_queue.device(), host);
    const CommandId id = hinting.start(sink);
    hint_queue.add({command(id.value)});
    ASSERT_TRUE(hinting.serve(hint_queue.device()));
    run_loop(20ms);
    EXPECT_EQ(hinting.status().host_command, 0U);
    EXPECT_TRUE(sink.ended());
    EXPECT_EQ(counters.hint_rounds_cut, 1U);
}

TEST_F(HintingTest, C27_a_guest_that_does_not_begin_is_not_waited_for) {
    struct Sink final : HintSink {
        explicit Sink(EventLoop& l)
            : loop(l) {}
        void hinted(PageRange) override {}
        void round_ended(RoundEnd end) override {
            how = end;
            loop.stop();
        }
        EventLoop& loop;
        std::optional<RoundEnd> how;
    } waiting{loop};
    Counters counters;
    FreePageHinting hinting(fake.memory(), loop, counters, 1h, 1ms);
    FakeQueue hint_queue = fake.queue(16, split_ring);
    hinting.attach(hint_queue.device(), host);
    hinting.start(waiting);
    loop.run();
    EXPECT_EQ(waiting.how, RoundEnd::unanswered);
    EXPECT_EQ(hinting.status().host_command, 0U);
}

TEST_F(HintingTest, C2_the_guests_time_does_not_run_while_nobody_reads_its_queue) {
    Counters counters;
    FreePageHinting hinting(fake.memory(), loop, counters, 1h, 5ms);
    FakeQueue hint_queue = fake.queue(16, split_ring);
    hinting.attach(hint_queue.device(), host);
    hinting.start(sink);
    hinting.pause();
    run_loop(20ms);
    EXPECT_FALSE(sink.ended());
    hinting.resume();
    run_loop(20ms);
    EXPECT_TRUE(sink.ended()) << "what was left of its time";
    hinting.pause();
    sink.clear();
    hinting.start(sink);
    run_loop(20ms);
    EXPECT_FALSE(sink.ended()) << "a round that begins in a pause";
}

TEST_F(HintingTest, B12_ALongRingIsServedInBoundedTurns) {
    constexpr std::uint16_t chains = 5000;
    Counters counters;
    FreePageHinting hinting(fake.memory(), loop, counters);
    FakeQueue long_queue(fake.allocator(), 8192, split_ring);
    hinting.attach(long_queue.device(), host);
    long_queue.add({command(hinting.start(sink).value)});
    for (std::uint32_t i = 1; i < chains; ++i)
        long_queue.add({writable_at(base, 4096)});
    const auto more = hinting.serve(long_queue.device());
    EXPECT_TRUE(more && *more);
    EXPECT_EQ(long_queue.device().completed(), 4096U);
    const auto rest = hinting.serve(long_queue.device());
    EXPECT_TRUE(rest && !*rest);
    EXPECT_EQ(long_queue.device().completed(), chains);
}

TEST_F(HintingTest, RangesAreCutToRam) {
    start();
    const CommandId id = begin();
    send_hinting({command(id.value), writable_at({base.value + (16U << 20) - 4096}, 8192)});
    EXPECT_EQ(sink.unique(), PageCount{1});
    send_hinting({writable_at({1U << 30}, 4096)});
    EXPECT_EQ(skips(SkipReason::frame_outside_ram), 2U);
    send_hinting({writable_at({base.value + 1}, 8192)});
    EXPECT_EQ(sink.unique(), PageCount{2});
    EXPECT_TRUE(sink.pages().test({first.value + 1}));
}

TEST_F(HintingTest, ResetEndsTheRoundAndKeepsTheIdUsed) {
    start();
    const CommandId id = begin();
    send_hinting({command(id.value)});
    balloon.reset();
    EXPECT_TRUE(sink.ended());
    EXPECT_EQ(config(8), 0U);
    EXPECT_EQ(begin(), CommandId{}) << "no driver, no round";
    start();
    send_hinting({command(id.value)});
    send_hinting({hint(0)});
    EXPECT_EQ(sink.ranges(), 0U);
    EXPECT_EQ(begin(), CommandId{id.value + 1});
}

TEST_F(HintingTest, NotNegotiated) {
    start(balloon.offered_features().with(feature::free_page_hinting, false));
    EXPECT_EQ(begin(), CommandId{});
    balloon.hinting().done();
    EXPECT_EQ(config(8), 0U);
    EXPECT_EQ(host.config_changes, 0U);
}

TEST_F(HintingTest, B18_NothingWhilePaused) {
    start();
    const CommandId id = begin();
    balloon.pause([] {});
    add(Queue::hinting, {command(id.value)});
    add(Queue::hinting, {hint(0)});
    kick(Queue::hinting);
    EXPECT_EQ(sink.ranges(), 0U);
    EXPECT_FALSE(queue(Queue::hinting).take_used());
    balloon.hinting().done();
    balloon.resume();
    kick(Queue::hinting);
    EXPECT_EQ(sink.ranges(), 0U) << "queued before DONE, processed after it";
    EXPECT_TRUE(queue(Queue::hinting).take_used());
}

struct RestartingSink final : HintSink {
    explicit RestartingSink(FreePageHinting& source)
        : hinting(source) {}
    void hinted(PageRange) override {
        ++hints;
        hinting.stop();
    }
    void round_ended(RoundEnd) override { hinting.start(*this); }
    FreePageHinting& hinting;
    int hints = 0;
};

TEST_F(HintingTest, TheSinkMayStopAndStart) {
    start();
    RestartingSink restarting(balloon.hinting());
    CommandId id = balloon.hinting().start(restarting);
    send_hinting({command(id.value), hint(0), hint(1), hint(2)});
    EXPECT_EQ(restarting.hints, 1);
    id = balloon.hinting().start(restarting);
    send_hinting({command(id.value)});
    send_hinting({command(0)});
    EXPECT_EQ(config(8), id.value + 1);
    balloon.hinting().stop();
}

} // namespace
} // namespace aerate::balloon
