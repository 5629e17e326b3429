// Guests that use the balloon against its purpose, or against the memory that other parts of the monitor use: cases B7,
// B8, B14, B15, T8 and T9 of docs/hostile-inputs.md.
#include "balloon/counting_sink.hpp"
#include "balloon/testing/balloon_guest.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

namespace aerate::balloon {
namespace {

using namespace testing;

constexpr std::uint32_t high = 0x10'0000; // 4 GiB
constexpr std::uint32_t high_pages = 4096;
constexpr std::uint32_t low_free_pages = 256; // below what the fake guest allocates from

struct HostileGuest : ::testing::Test, BalloonGuest {
    /// Sends frames [first, first + count) as Linux does, 256 to a buffer.
    void send_frames(Queue kind, std::uint32_t first, std::uint32_t count) {
        std::vector<std::uint32_t> list;
        for (std::uint32_t frame = first; frame < first + count; ++frame) {
            list.push_back(frame);
            if (list.size() < 256 && frame + 1 < first + count)
                continue;
            queue(kind).add(std::array{readable(std::as_bytes(std::span(list)))});
            kick(kind);
            ASSERT_TRUE(queue(kind).take_used());
            list.clear();
        }
    }
    /// Returns how many of the pages in the balloon the host holds all the same.
    [[nodiscard]] PageCount held() { return fake.memory().resident_within(balloon.page_states().ballooned); }
    void expect_service() {
        balloon.reset();
        start();
        const auto before = balloon.memory_state().ballooned;
        EXPECT_EQ(send(Queue::inflate, {frames({high + 4000})}), 0U);
        EXPECT_EQ(balloon.memory_state().ballooned, PageCount{before.value + 1});
    }
};

TEST_F(HostileGuest, B7_InflatesFarBeyondTheTarget) {
    ASSERT_TRUE(balloon.set_target({16}));
    start();
    fill({{high}, {high_pages}});
    fill({{0}, {low_free_pages}});
    const auto full = fake.memory().resident();
    send_frames(Queue::inflate, high, high_pages);
    send_frames(Queue::inflate, 0, low_free_pages);

    // Its own harm: discarded and counted as what it is. Nothing that the host asked for moves.
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{high_pages + low_free_pages});
    EXPECT_EQ(first_byte({high}), 0U);
    EXPECT_EQ(first_byte({high + high_pages - 1}), 0U);
    EXPECT_EQ(balloon.target(), PageCount{16});
    EXPECT_EQ(config(0), 16U);
    EXPECT_EQ(balloon.actual(), PageCount{0});
    EXPECT_TRUE(host.faults.empty());
    EXPECT_LT(fake.memory().resident(), full);

    // And it is no gain to lend out: a touch takes it all back, and the balloon hears nothing of it.
    fill({{high}, {high_pages}});
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{high_pages + low_free_pages});
    EXPECT_GE(held(), PageCount{high_pages}) << "what the host holds is what counts";

    send_frames(Queue::deflate, high, high_pages);
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{low_free_pages});
    EXPECT_TRUE(balloon.set_target({0}));
}

TEST_F(HostileGuest, B8_RefusesToInflate) {
    start();
    fill({{high}, {high_pages}});
    const auto before = fake.memory().resident();
    ASSERT_TRUE(balloon.set_target({high_pages}));
    // It says that it did, and sends nothing.
    write_config(4, high_pages);
    EXPECT_EQ(balloon.actual(), PageCount{high_pages}) << "shown as the guest's word";
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{0});
    EXPECT_GE(fake.memory().resident(), before);
}

TEST_F(HostileGuest, B8_DeflatesAtOnce) {
    start();
    ASSERT_TRUE(balloon.set_target({512}));
    for (int round = 1; round <= 3; ++round) {
        fill({{high}, {512}});
        send_frames(Queue::inflate, high, 512);
        write_config(4, 512);
        EXPECT_EQ(held(), PageCount{0});
        send_frames(Queue::deflate, high, 512);
        write_config(4, 0);
        EXPECT_EQ(balloon.memory_state().ballooned, PageCount{0});
        EXPECT_EQ(balloon.counters().unasked_deflations, 1U) << "later there is no target to fall short of";
        EXPECT_EQ(balloon.target(), PageCount{0}) << "it follows the guest, and nothing is asked for again";
    }
    EXPECT_EQ(balloon.counters().inflated, PageCount{3 * 512});
    EXPECT_EQ(balloon.counters().deflated, PageCount{3 * 512});
}

TEST_F(HostileGuest, B8_WritesToInflatedPages) {
    start();
    ASSERT_TRUE(balloon.set_target({512}));
    fill({{high}, {512}});
    send_frames(Queue::inflate, high, 512);
    write_config(4, 512);
    ASSERT_EQ(held(), PageCount{0});
    fill({{high}, {512}});
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{512}) << "by the rules they are still in the balloon";
    EXPECT_EQ(held(), PageCount{512}) << "and the host spends them all the same";
    EXPECT_EQ(first_byte({high}), 0xaaU) << "no second discard: a write after the acknowledgement is the guest's right";
    // Inflating them once more gives them up once more, and counts nothing twice.
    send_frames(Queue::inflate, high, 512);
    EXPECT_EQ(held(), PageCount{0});
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{512});
    EXPECT_EQ(balloon.counters().inflated, PageCount{512});
}

// What a disk does: it has looked the page up, and the kernel writes there when the data comes. The disk's side is in
// block/slow_disk_test.cpp.
TEST_F(HostileGuest, B14_PagesThatADiskIsFilling) {
    struct Case {
        const char* what;
        Queue kind;
        bool ballooned;
    };
    for (const Case& c : {Case{"inflated", Queue::inflate, true}, Case{"reported", Queue::reporting, false}}) {
        SCOPED_TRACE(c.what);
        BalloonGuest guest;
        guest.start();
        guest.fill({{high}, {2}});
        auto& memory = guest.fake.memory();
        auto& log = memory.write_log();
        log.start();
        PageBitmap dirty(memory.address_space());

        const auto target = memory.span(address_of({high}), page_size);
        ASSERT_TRUE(target);
        const FakeBuffer buffer = c.ballooned ? frames({high}) : writable_at(address_of({high}), 4096);
        EXPECT_EQ(guest.send(c.kind, {buffer}), 0U);
        EXPECT_EQ(guest.first_byte({high}), 0U);
        log.take(dirty);
        EXPECT_TRUE(dirty.test({high})) << "a discard changes what the guest reads";
        dirty.clear_all();

        std::ranges::fill(*target, std::byte{0x77});
        memory.wrote(address_of({high}), page_size);
        EXPECT_EQ(guest.first_byte({high}), 0x77U) << "no dangling pointer: the same page of the guest";
        EXPECT_EQ(guest.first_byte({high + 1}), 0xaaU);
        log.take(dirty);
        EXPECT_TRUE(dirty.test({high})) << "so that whoever copies memory takes it along";
        EXPECT_EQ(guest.balloon.memory_state().ballooned, PageCount{c.ballooned ? 1U : 0U});
        EXPECT_TRUE(guest.host.faults.empty());
    }
}

// The guest hints a page, takes it back and writes to it, all before the device has looked at the hint; or writes in
// between, or after.
TEST_F(HostileGuest, B15_AHintAndAWriteInAnyOrder) {
    enum class Write { before_the_hint_is_seen, before_the_round_ends, after_the_round };
    for (const Write write : {Write::before_the_hint_is_seen, Write::before_the_round_ends, Write::after_the_round}) {
        SCOPED_TRACE(static_cast<int>(write));
        BalloonGuest guest;
        CountingSink sink(PageBitmap(guest.fake.memory().address_space()));
        auto& log = guest.fake.memory().write_log();
        PageBitmap dirty(guest.fake.memory().address_space());
        guest.start();
        log.start();
        const CommandId id = guest.balloon.hinting().start(sink);
        const PageRange pages{{high}, {1024}};
        guest.add(Queue::hinting, {readable(id.value)});
        guest.add(Queue::hinting, {writable_at(address_of(pages.first), 4U << 20)});

        if (write == Write::before_the_hint_is_seen)
            guest.fill(pages);
        guest.kick(Queue::hinting);
        EXPECT_EQ(sink.unique(), pages.count);
        if (write == Write::before_the_round_ends)
            guest.fill(pages);
        EXPECT_EQ(guest.send(Queue::hinting, {readable(std::uint32_t{0})}), 0U);
        guest.balloon.hinting().done();
        if (write == Write::after_the_round)
            guest.fill(pages);

        log.take(dirty);
        EXPECT_EQ(dirty.count(pages), pages.count) << "no hint takes a write out of the log";
        EXPECT_EQ(guest.balloon.counters().discarded, PageCount{0});
        EXPECT_EQ(guest.balloon.counters().discard_calls, 0U);
        for (std::uint32_t page = 0; page < pages.count.value; page += 31)
            EXPECT_EQ(guest.first_byte({high + page}), 0xaaU);
    }
}

TEST_F(HostileGuest, T8_AListOfPagesThatGivesItselfUp) {
    start();
    const GuestAddress list = fake.allocate({4096}, 4096);
    const auto own = static_cast<std::uint32_t>(frame_of(list).value);
    const std::array both{own, high};
    ASSERT_TRUE(fake.memory().write(list, std::as_bytes(std::span(both))));
    EXPECT_EQ(send(Queue::inflate, {readable_at(list, 8)}), 0U);
    EXPECT_EQ(first_byte({own}), 0U);
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{2}) << "read first, then discarded";
    // The same buffer once more: it says frame 0, twice.
    EXPECT_EQ(send(Queue::inflate, {readable_at(list, 8)}), 0U);
    EXPECT_EQ(balloon.memory_state().ballooned, PageCount{3});
    EXPECT_TRUE(balloon.page_states().ballooned.test({0}));
}

// A list so long that it is applied in parts: what comes after the part that discards it reads as zeros.
TEST_F(HostileGuest, T8_AListThatGivesItselfUpWhileItIsRead) {
    start();
    std::vector<std::uint32_t> list;
    const std::size_t length = 40'000;
    const GuestAddress at = fake.allocate({length * 4}, 4096);
    for (std::uint32_t page = 0; page < length * 4 / 4096 + 1; ++page)
        list.push_back(static_cast<std::uint32_t>(frame_of(at).value) + page);
    while (list.size() < length - 1)
        list.push_back(high + static_cast<std::uint32_t>(list.size() * 2 % 4000));
    list.push_back(high + 4001);
    ASSERT_TRUE(fake.memory().write(at, std::as_bytes(std::span(list))));
    EXPECT_EQ(send(Queue::inflate, {readable_at(at, length * 4)}), 0U);
    EXPECT_FALSE(balloon.page_states().ballooned.test({high + 4001}));
    EXPECT_TRUE(balloon.page_states().ballooned.test({0}));
    EXPECT_EQ(balloon.memory_state().ballooned, balloon.page_states().ballooned.count());
    EXPECT_TRUE(host.faults.empty());
    expect_service();
}

TEST_F(HostileGuest, T8_AHeldBufferIsDiscarded) {
    start();
    const GuestAddress buffer = fake.allocate({4096}, 4096);
    // Statistics: the device keeps the buffer until it wants fresh numbers.
    ASSERT_TRUE(fake.memory().store<std::uint16_t>(buffer, 4));
    ASSERT_EQ(send(Queue::statistics, {readable_at(buffer, 10)}), std::nullopt);
    send_frames(Queue::inflate, static_cast<std::uint32_t>(frame_of(buffer).value), 1);
    EXPECT_EQ(first_byte(frame_of(buffer)), 0U);
    unsigned answers = 0;
    balloon.statistics().request([&](const Result<GuestStatistics>& answer) { answers += answer ? 1U : 0U; });
    EXPECT_TRUE(queue(Queue::statistics).take_used());
    // What the device reads now is tag 0 with value 0.
    EXPECT_EQ(send(Queue::statistics, {readable_at(buffer, 10)}), std::nullopt);
    EXPECT_EQ(answers, 1U);
    EXPECT_EQ(balloon.statistics().latest().values[0], 0U);
    EXPECT_EQ(balloon.statistics().latest().values[4], std::nullopt);
    EXPECT_TRUE(host.faults.empty());
}

// Every queue's ring in turn goes into the balloon while the queue is live. A split ring's index falls back to 0, which
// is a fault; a packed ring of zeros is an empty one.
TEST_F(HostileGuest, T9_RingsAreDiscarded) {
    const auto harmless = [](Queue kind) {
        return kind == Queue::reporting ? writable_at(address_of({high}), 4096) : frames({high + 1});
    };
    for (const auto ring : {split_ring, split_ring_with_events, packed_ring, packed_ring_with_events}) {
        const bool packed = ring.has(virtio::feature::ring_packed);
        for (std::size_t i = 0; i < queue_kinds; ++i) {
            const auto kind = static_cast<Queue>(i);
            SCOPED_TRACE(std::string(packed ? "packed ring of queue " : "split ring of queue ") + std::to_string(i));
            BalloonGuest guest;
            guest.start(guest.balloon.offered_features(), ring);
            guest.send(kind, {harmless(kind)});
            const auto registers = guest.queue(kind).registers();
            const ByteCount bytes = packed ? virtio::PackedDriver::ring_bytes(registers.size)
                                           : virtio::SplitDriver::ring_bytes(registers.size);
            std::vector<std::uint32_t> pages;
            for (std::uint64_t at = 0; at < bytes.value; at += page_size.value)
                pages.push_back(static_cast<std::uint32_t>(frame_of({registers.descriptors.value + at}).value));
            guest.queue(Queue::inflate).add(std::array{readable(std::as_bytes(std::span(pages)))});
            guest.kick(Queue::inflate);
            for (const std::uint32_t page : pages)
                ASSERT_TRUE(guest.balloon.page_states().ballooned.test({page}));

            for (int kicks = 0; kicks < 3; ++kicks)
                guest.kick(kind);
            if (packed) {
                EXPECT_TRUE(guest.host.faults.empty());
                guest.send(kind, {harmless(kind)});
                EXPECT_EQ(guest.queue(kind).device().fault(), std::nullopt);
            } else {
                ASSERT_EQ(guest.host.faults.size(), 1U) << "once, and the device stops";
                EXPECT_EQ(guest.host.faults[0].queue, guest.index(kind));
                EXPECT_EQ(guest.queue(kind).device().fault(), virtio::RingFault::available_jumped);
                EXPECT_EQ(guest.balloon.counters().ring_faults, 1U);
            }
            guest.balloon.statistics().request([](const Result<GuestStatistics>&) {});

            guest.balloon.reset();
            guest.start(guest.balloon.offered_features(), ring);
            EXPECT_EQ(guest.send(Queue::inflate, {frames({high + 9})}), 0U) << "after a reset it serves again";
        }
    }
}

} // namespace
} // namespace aerate::balloon
