// What holds for a queue whatever its kind: our driver's half against the device's half.
#include "virtio/testing/fake_driver.hpp"
#include "virtio/virtqueue.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace aerate::virtio {
namespace {

using namespace testing;

struct Kind {
    const char* name;
    FeatureSet features;
};
const Kind kinds[] = {
    {"Split", split_ring},
    {"SplitWithEvents", split_ring_with_events},
    {"Packed", packed_ring},
    {"PackedWithEvents", packed_ring_with_events},
    {"PackedInOrder", packed_ring_with_events.with(feature::in_order)},
};

class AnyRing : public ::testing::TestWithParam<Kind> {
protected:
    FakeDriver fake_;
    [[nodiscard]] FakeQueue queue(std::uint16_t size) { return fake_.queue(size, GetParam().features); }
    [[nodiscard]] bool packed() const { return GetParam().features.has(feature::ring_packed); }
};
INSTANTIATE_TEST_SUITE_P(Kinds, AnyRing, ::testing::ValuesIn(kinds), [](const auto& test) { return test.param.name; });

std::optional<DescriptorChain> take(Virtqueue& device) {
    const auto chain = device.pop();
    EXPECT_TRUE(chain.has_value()) << describe(chain.error());
    return chain ? *chain : std::nullopt;
}

/// At random: whatever is given back comes again, in its place, and the driver sees nothing of it.
TEST_P(AnyRing, WhatIsGivenBackIsAvailableAgain) {
    FakeQueue both = queue(16);
    Virtqueue& device = both.device();
    std::mt19937 random(7);
    std::vector<ChainId> held;
    std::uint32_t added = 0;
    std::uint32_t used = 0;
    std::uint16_t next = 0; // what the oldest chain that is not popped says
    std::uint16_t said = 0;
    for (int step = 0; step < 20'000; ++step) {
        switch (random() % 4) {
        case 0:
            if (both.free_slots() >= 3) {
                const auto extra = static_cast<std::uint32_t>(random() % 2);
                std::vector<FakeBuffer> chain{readable(said++), writable(4)};
                if (extra != 0)
                    chain.push_back(writable(4));
                both.add(chain);
                ++added;
            }
            break;
        case 1: {
            const auto chain = take(device);
            ASSERT_EQ(chain.has_value(), next != said);
            if (!chain)
                break;
            std::uint16_t word = 0;
            ASSERT_TRUE(fake_.memory().read(chain->readable[0].address, std::as_writable_bytes(std::span(&word, 1))));
            ASSERT_EQ(word, next++);
            held.push_back(chain->id);
            break;
        }
        case 2:
            if (!held.empty()) {
                device.give_back(held.back());
                held.pop_back();
                --next;
            }
            break;
        default: // all of them, since what is given back later must be the last
            for (const ChainId id : held)
                device.complete(id, 4);
            held.clear();
            (void)device.publish();
            while (both.take_used())
                ++used;
            ASSERT_EQ(device.in_flight(), 0);
        }
        ASSERT_EQ(device.in_flight(), held.size());
        ASSERT_EQ(device.available(), static_cast<std::uint16_t>(said - next));
    }
    EXPECT_GT(used, 500U);
    EXPECT_LE(used, added);
}

TEST_P(AnyRing, CarriesAChainThereAndBack) {
    FakeQueue both = queue(16);
    const std::array<std::uint32_t, 3> question{1, 2, 3};
    const auto token = both.add({readable(question), readable(std::uint16_t{7}), writable(8)});

    const auto chain = take(both.device());
    ASSERT_TRUE(chain);
    ASSERT_EQ(chain->readable.size(), 2U);
    EXPECT_EQ(chain->readable[0].length, sizeof question);
    ASSERT_EQ(chain->writable.size(), 1U);
    std::array<std::uint32_t, 3> seen;
    ASSERT_TRUE(fake_.memory().read(chain->readable[0].address, std::as_writable_bytes(std::span(seen))));
    EXPECT_EQ(seen, question);
    EXPECT_EQ(both.device().in_flight(), 1);
    EXPECT_FALSE(take(both.device()));

    ASSERT_TRUE(fake_.memory().write(chain->writable[0].address, std::as_bytes(std::span(question)).first(8)));
    both.device().complete(chain->id, 8);
    EXPECT_EQ(both.device().in_flight(), 0);
    EXPECT_FALSE(both.take_used()) << "staged only";
    EXPECT_TRUE(both.device().publish());
    EXPECT_FALSE(both.device().publish()) << "nothing new";
    const auto used = both.take_used();
    ASSERT_TRUE(used);
    EXPECT_EQ(used->token, token);
    EXPECT_EQ(used->written, 8U);
    EXPECT_EQ(used->bytes[4], std::byte{2});
    EXPECT_FALSE(both.take_used());
    EXPECT_EQ(both.device().completed(), 1U);
}

TEST_P(AnyRing, CountsWhatIsAvailable) {
    FakeQueue both = queue(8);
    EXPECT_EQ(both.device().available(), 0);
    both.add({writable(8), writable(8)});
    both.add({writable(8)});
    EXPECT_EQ(both.device().available(), 2);
    ASSERT_TRUE(take(both.device()));
    EXPECT_EQ(both.device().available(), 1);
    for (int i = 0; i < 5; ++i)
        both.add({writable(8)});
    EXPECT_EQ(both.device().available(), 6);
}

// A model check: whatever the order of adding, popping and completing, each chain comes back once, with what was
// written.
TEST_P(AnyRing, EveryChainComesBackOnce) {
    std::mt19937 random(1);
    const bool in_order = GetParam().features.has(feature::in_order);
    for (const std::uint16_t size : std::initializer_list<std::uint16_t>{1, 2, 8, 64}) {
        FakeQueue both = queue(size);
        std::vector<DescriptorChain> held;
        std::map<std::uint32_t, std::uint32_t> expected; // token, written
        std::map<std::uint16_t, std::uint32_t> token_of;
        std::uint32_t next_popped = 0;
        unsigned returned = 0;
        for (int step = 0; step < 20'000; ++step) {
            switch (random() % 4) {
            case 0: {
                const auto segments = 1 + random() % std::min<unsigned>(size, 4);
                if (both.free_slots() < segments)
                    break;
                std::vector<FakeBuffer> buffers;
                for (unsigned i = 0; i < segments; ++i)
                    buffers.push_back(writable_at({0x1000U * i}, 16));
                both.add(buffers);
                break;
            }
            case 1:
                if (const auto chain = take(both.device())) {
                    ASSERT_FALSE(token_of.contains(chain->id.value));
                    token_of[chain->id.value] = next_popped++;
                    held.push_back(*chain);
                }
                break;
            case 2:
                if (!held.empty()) {
                    const auto chosen = held.begin() + static_cast<std::ptrdiff_t>(random() % held.size());
                    const std::uint32_t written = random() % 16;
                    expected[token_of[chosen->id.value]] = written;
                    token_of.erase(chosen->id.value);
                    both.device().complete(chosen->id, written);
                    held.erase(chosen);
                }
                break;
            default:
                (void)both.device().publish();
                while (const auto used = both.take_used()) {
                    ASSERT_TRUE(expected.contains(used->token));
                    ASSERT_EQ(expected[used->token], used->written);
                    ASSERT_TRUE(!in_order || used->token == returned) << "IN_ORDER";
                    expected.erase(used->token);
                    ++returned;
                }
            }
            ASSERT_LE(both.device().in_flight(), size);
        }
        EXPECT_GT(returned, 1000U) << "size " << size;
    }
}

TEST_P(AnyRing, TakesIndirectTables) {
    if (!GetParam().features.has(feature::indirect_descriptors))
        GTEST_SKIP();
    FakeQueue both = queue(8);
    // R4: a table need not be aligned.
    const GuestAddress table{fake_.allocate({200}).value + 3};
    const RingMemory memory{fake_.memory().span(table, {128})->data(), table};
    const std::array buffers{DriverBuffer{{0x1000}, 10, false}, DriverBuffer{{0x2000}, 20, true},
                             DriverBuffer{{0x3000}, 30, true}};
    const bool added = packed() ? both.driver<PackedDriver>().add_indirect(buffers, memory, 77)
                                : both.driver<SplitDriver>().add_indirect(buffers, memory, 77);
    ASSERT_TRUE(added);
    EXPECT_EQ(both.free_slots(), 7);
    (void)both.publish();
    const auto chain = take(both.device());
    ASSERT_TRUE(chain);
    ASSERT_EQ(chain->readable.size(), 1U);
    ASSERT_EQ(chain->writable.size(), 2U);
    EXPECT_EQ(chain->writable[1].address, GuestAddress{0x3000});
    both.device().complete(chain->id, 50);
    (void)both.device().publish();
    EXPECT_EQ(both.take_used()->token, 77U);
}

TEST_P(AnyRing, KicksAndInterruptsAreNotLostAndNotWasted) {
    FakeQueue both = queue(8);
    const bool events = GetParam().features.has(feature::event_index);
    both.add({writable(4)});
    EXPECT_TRUE(both.kick_wanted());
    both.add({writable(4)});
    EXPECT_EQ(both.kick_wanted(), !events || packed()) << "the device has not said yet where it is";

    // The device looks until the ring is empty, so the next chain is kicked for, and only that one.
    unsigned interrupts = 0;
    while (const auto chain = take(both.device())) {
        both.device().complete(chain->id, 0);
        interrupts += both.device().publish() ? 1U : 0U;
    }
    EXPECT_EQ(interrupts, events && !packed() ? 1U : 2U);
    while (both.take_used()) {
    }
    both.add({writable(4)});
    EXPECT_TRUE(both.kick_wanted());
    both.add({writable(4)});
    EXPECT_EQ(both.kick_wanted(), !events);

    // Polling needs no kicks.
    both.device().want_kicks(false);
    for (int i = 0; i < 3; ++i) {
        both.add({writable(4)});
        EXPECT_FALSE(both.kick_wanted());
    }
    both.device().want_kicks(true);
    while (const auto chain = take(both.device()))
        both.device().complete(chain->id, 0);
    // One interrupt a batch, if wanted at all.
    both.want_interrupts(false);
    if (events && !packed())
        (void)both.device().publish(); // used_event is where it was: this one may still be due
    else
        EXPECT_FALSE(both.device().publish());
    while (both.take_used()) {
    }
    both.add({writable(4)});
    EXPECT_TRUE(both.kick_wanted());
    both.device().complete(take(both.device())->id, 0);
    EXPECT_FALSE(both.device().publish()) << "not wanted";
    both.want_interrupts(true);
    EXPECT_TRUE(both.take_used());
    both.add({writable(4)});
    both.want_interrupts(true);
    both.device().complete(take(both.device())->id, 0);
    EXPECT_TRUE(both.device().publish());
}

TEST_P(AnyRing, PublishIsInTheWriteLog) {
    FakeQueue both = queue(8);
    both.add({writable(4)});
    fake_.memory().write_log().start();
    both.device().complete(take(both.device())->id, 4);
    (void)both.device().publish();
    PageBitmap dirty(fake_.memory().address_space());
    fake_.memory().write_log().take(dirty);
    EXPECT_TRUE(dirty.test(frame_of(packed() ? both.registers().descriptors : both.registers().device)));
}

TEST_P(AnyRing, GoesOnFromASavedPosition) {
    FakeQueue both = queue(4);
    for (std::uint32_t round = 0; round < 11; ++round) {
        const auto token = both.add({writable(4), writable(4), writable(4)});
        const auto chain = take(both.device());
        ASSERT_TRUE(chain);
        both.device().complete(chain->id, round);
        (void)both.device().publish();
        const QueuePosition position = both.device().position();
        ASSERT_FALSE(check_position(both.registers(), position, GetParam().features));
        both.remake_device(position);
        const auto used = both.take_used();
        ASSERT_TRUE(used);
        EXPECT_EQ(used->token, token);
        EXPECT_EQ(used->written, round);
    }
}

TEST_P(AnyRing, RaisesNoFaultWhileADriverOnAnotherThreadKeepsItBusy) {
    FakeQueue both = queue(64);
    constexpr std::uint32_t chains = 50'000;
    const std::array buffer{DriverBuffer{{0x1000}, 64, true}};
    std::thread driver([&] {
        std::uint32_t added = 0;
        std::uint32_t returned = 0;
        auto run = [&](auto& half) {
            while (returned < chains) {
                while (added < chains && half.add(buffer, added))
                    ++added;
                (void)half.publish();
                bool idle = true;
                while (const auto used = half.take_used()) {
                    ASSERT_EQ(used->token, returned);
                    ++returned;
                    idle = false;
                }
                if (idle)
                    std::this_thread::yield();
            }
        };
        if (packed())
            run(both.driver<PackedDriver>());
        else
            run(both.driver<SplitDriver>());
    });
    while (both.device().completed() < chains) {
        const auto chain = both.device().pop();
        ASSERT_TRUE(chain) << describe(chain.error());
        if (*chain) {
            both.device().complete((*chain)->id, 1);
        } else {
            (void)both.device().publish();
            std::this_thread::yield();
        }
    }
    (void)both.device().publish();
    driver.join();
}

} // namespace
} // namespace aerate::virtio
