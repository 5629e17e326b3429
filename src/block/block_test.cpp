#include "block/testing/block_test.hpp"

#include "base/endian.hpp"
#include "block/block.hpp"
#include "block/testing/block_wire.hpp"
#include "virtio/testing/fake_driver.hpp"

#include <boost/asio/io_context.hpp>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <random>
#include <string>

namespace aerate {
namespace {

using namespace std::chrono_literals;
using namespace testing;
using namespace virtio::testing;

INSTANTIATE_TEST_SUITE_P(Engines, BlockTest,
                         ::testing::Values(Setup{Engine::io_uring, split_ring},
                                           Setup{Engine::io_uring, packed_ring_with_events},
                                           Setup{Engine::blocking, split_ring_with_events},
                                           Setup{Engine::unkind, split_ring_with_events},
                                           Setup{Engine::unkind, packed_ring}));

std::vector<std::byte> pattern(std::size_t size, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<std::byte> bytes(size);
    std::ranges::generate(bytes, [&] { return static_cast<std::byte>(random()); });
    return bytes;
}

TEST_P(BlockTest, WhatIsWrittenIsInTheFileAndReadBack) {
    const auto data = pattern(1536, 1);
    EXPECT_EQ(request({readable(Header{out, 0, 5}), readable(data), writable(1)}), ok);
    EXPECT_EQ(last.written, 1U);
    const auto contents = file.contents(sectors * 512);
    EXPECT_TRUE(std::ranges::equal(std::span(contents).subspan(5 * 512, 1536), data));

    EXPECT_EQ(request({readable(Header{in, 0, 5}), writable(512), writable(1024), writable(1)}), ok);
    EXPECT_EQ(last.written, 1537U);
    EXPECT_TRUE(std::ranges::equal(std::span(last.bytes).first(1536), data));
    EXPECT_EQ(request({readable(Header{flush, 0, 0}), writable(1)}), ok);
    EXPECT_EQ(device->counters().reads, 1U);
    EXPECT_EQ(device->counters().writes, 1U);
    EXPECT_EQ(device->counters().flushes, 1U);
    EXPECT_EQ(device->counters().read, ByteCount{1536});
}

TEST_P(BlockTest, TellsItsSizeItsLimitsAndItsName) {
    std::array<std::byte, 64> config{};
    device->read_config(0, config);
    const auto word = [&](std::size_t at) { return load_little_endian<std::uint32_t>(std::span(config).subspan(at)); };
    EXPECT_EQ(load_little_endian<std::uint64_t>(config), sectors);
    EXPECT_EQ(word(12), Block::max_segments);
    EXPECT_EQ(word(20), 512U);
    EXPECT_EQ(word(40), Block::max_range_segments);
    EXPECT_EQ(word(60), 0U);
    std::array<std::byte, 8> beyond;
    beyond.fill(std::byte{0xaa});
    device->read_config(0xfffffffc, beyond);
    EXPECT_EQ(beyond, (std::array<std::byte, 8>{}));

    EXPECT_EQ(request({readable(Header{get_id, 0, 0}), writable(20), writable(1)}), ok);
    EXPECT_EQ(std::memcmp(last.bytes.data(), "serial-number\0\0\0\0\0\0\0", 20), 0);
    EXPECT_EQ(last.written, 21U);
    EXPECT_EQ(request({readable(Header{get_id, 0, 0}), writable(5), writable(1)}), ok);
    EXPECT_EQ(last.written, 6U);
}

TEST_P(BlockTest, DiscardAndWriteZeroesLeaveZeros) {
    const auto data = pattern(64 * 512, 2);
    ASSERT_EQ(request({readable(Header{out, 0, 0}), readable(data), writable(1)}), ok);
    ASSERT_EQ(
        request({readable(Header{discard, 0, 0}), readable(std::array{Range{0, 8, 0}, Range{16, 8, 0}}), writable(1)}),
        ok);
    ASSERT_EQ(request({readable(Header{write_zeroes, 0, 0}), readable(Range{33, 1, 1}), writable(1)}), ok);
    const std::byte kept = request({readable(Header{write_zeroes, 0, 0}), readable(Range{40, 2, 0}), writable(1)});
    EXPECT_TRUE(kept == ok || kept == unsupported) << "tmpfs cannot zero a range";

    const auto contents = file.contents(64 * 512);
    for (std::size_t sector = 0; sector < 64; ++sector) {
        const bool zero = sector < 8 || (sector >= 16 && sector < 24) || sector == 33 ||
                          (kept == ok && (sector == 40 || sector == 41));
        const auto found = std::span(contents).subspan(sector * 512, 512);
        const auto written = std::span(data).subspan(sector * 512, 512);
        EXPECT_TRUE(zero ? std::ranges::count(found, std::byte{0}) == 512 : std::ranges::equal(found, written))
            << sector;
    }
}

TEST_P(BlockTest, HostileRequestsAreAnsweredAndTheDeviceGoesOn) {
    EXPECT_EQ(request({readable(Header{in, 0, sectors}), writable(512), writable(1)}), io_error);
    EXPECT_EQ(last.written, 0U);
    EXPECT_EQ(request({readable(Header{99, 0, 0}), writable(1)}), unsupported);
    EXPECT_EQ(last.written, 1U);
    EXPECT_EQ(request({readable(Header{out, 0, 0}), readable_at({1ULL << 40}, 512), writable(1)}), io_error);
    EXPECT_EQ(request({readable(Header{in, 0, 0}), writable_at({1ULL << 40}, 512), writable(1)}), io_error);
    EXPECT_EQ(request({readable(Header{in, 0, 0}), writable_at({~0ULL - 100}, 512), writable(1)}), io_error);
    // R8: one buffer half in RAM.
    EXPECT_EQ(request({readable(Header{in, 0, 0}), writable_at({(16U << 20) - 256}, 512), writable(1)}), io_error);
    // No byte for the answer.
    queue->add({readable(Header{in, 0, 0})});
    queue->add({writable_at({1ULL << 40}, 1)});
    kick();
    for (int i = 0; i < 2; ++i) {
        const auto used = wait_used();
        ASSERT_TRUE(used);
        EXPECT_EQ(used->written, 0U);
    }
    EXPECT_TRUE(host.faults.empty());
    EXPECT_EQ(device->counters().refused, 8U);
    EXPECT_EQ(request({readable(Header{in, 0, 0}), writable(512), writable(1)}), ok);
    EXPECT_EQ(file.contents(sectors * 512), std::vector<std::byte>(sectors * 512));
}

TEST_P(BlockTest, AReadOnlyDiskIsNotWritten) {
    make({.path = {}, .read_only = true, .direct = false});
    EXPECT_TRUE(device->offered_features().has(5));
    EXPECT_FALSE(device->offered_features().has(13));
    EXPECT_EQ(request({readable(Header{out, 0, 0}), readable(pattern(512, 3)), writable(1)}), io_error);
    EXPECT_EQ(request({readable(Header{in, 0, 0}), writable(512), writable(1)}), ok);
    EXPECT_EQ(file.contents(512), std::vector<std::byte>(512));
}

TEST_P(BlockTest, AFileCutShortGivesErrorsBeyondItsEnd) {
    ASSERT_EQ(::ftruncate(file.fd(), 512), 0);
    EXPECT_EQ(request({readable(Header{in, 0, 0}), writable(1024), writable(1)}), io_error);
    EXPECT_EQ(last.written, 512U) << "what was read before the end, and not the status, which comes after a gap";
    EXPECT_EQ(device->counters().failed, 1U);
}

TEST_P(BlockTest, WithoutFlushEachWriteIsThrough) {
    features = features.with(9, false);
    activate();
    EXPECT_EQ(request({readable(Header{out, 0, 1}), readable(pattern(512, 4)), writable(1)}), ok);
}

TEST_P(BlockTest, FilledBuffersAreInTheWriteLogAfterPopAndAfterCompletion) {
    auto& log = fake.memory().write_log();
    log.start();
    PageBitmap dirty(fake.memory().address_space());
    const GuestAddress buffer = fake.allocate({8192}, 4096);
    queue->add({readable(Header{in, 0, 0}), writable_at(buffer, 8192), writable(1)});
    kick();
    log.take(dirty);
    EXPECT_EQ(dirty.count({frame_of(buffer), {2}}), PageCount{2});
    dirty.clear_all();
    ASSERT_TRUE(wait_used());
    log.take(dirty);
    EXPECT_EQ(dirty.count({frame_of(buffer), {2}}), PageCount{2});
}

TEST_P(BlockTest, T4_ResetInFlightDropsTheWorkAndTheDeviceStartsAnew) {
    if (unkind != nullptr)
        unkind->stalled = true;
    std::vector<GuestAddress> buffers;
    for (int i = 0; i < 16; ++i) {
        buffers.push_back(fake.allocate({4096}, 4096));
        queue->add({readable(Header{in, 0, 0}), writable_at(buffers.back(), 4096), writable(1)});
    }
    kick();
    const auto interrupts = host.interrupts.size();
    device->reset();
    // Whatever the disk was doing, nothing writes here any more.
    for (const GuestAddress buffer : buffers)
        ASSERT_TRUE(fake.memory().fill(buffer, {4096}, std::byte{0x77}));
    if (unkind != nullptr)
        unkind->release();
    loop.context().run_for(20ms);
    EXPECT_FALSE(queue->take_used());
    EXPECT_EQ(host.interrupts.size(), interrupts);
    for (const GuestAddress buffer : buffers) {
        std::array<std::byte, 4096> bytes;
        ASSERT_TRUE(fake.memory().read(buffer, bytes));
        EXPECT_EQ(std::ranges::count(bytes, std::byte{0x77}), 4096);
    }
    kick();
    activate();
    EXPECT_EQ(request({readable(Header{in, 0, 0}), writable(512), writable(1)}), ok);
}

TEST_P(BlockTest, PauseCompletesWhatWasTakenAndTakesNoMore) {
    if (unkind != nullptr)
        unkind->stalled = true;
    for (int i = 0; i < 8; ++i)
        queue->add({readable(Header{in, 0, 0}), writable(512), writable(1)});
    kick();
    bool quiesced = false;
    device->pause([&] {
        quiesced = true;
        EXPECT_EQ(queue->device().in_flight(), 0);
        EXPECT_EQ(queue->device().completed(), 8U);
    });
    EXPECT_FALSE(quiesced);
    queue->add({readable(Header{in, 0, 0}), writable(512), writable(1)});
    kick();
    if (unkind != nullptr) {
        loop.context().run_for(5ms);
        EXPECT_FALSE(quiesced);
        unkind->release();
    }
    for (int i = 0; i < 8; ++i)
        EXPECT_TRUE(wait_used());
    EXPECT_TRUE(quiesced);
    loop.context().run_for(5ms);
    EXPECT_FALSE(queue->take_used());

    device->resume();
    ASSERT_FALSE(host.kicks_again.empty());
    kick();
    EXPECT_TRUE(wait_used());

    device->pause([&] { quiesced = false; });
    EXPECT_FALSE(quiesced) << "nothing in flight: at once";
}

TEST_P(BlockTest, AResetWhilePausingCountsAsQuiesced) {
    if (unkind != nullptr)
        unkind->stalled = true;
    queue->add({readable(Header{in, 0, 0}), writable(512), writable(1)});
    kick();
    bool quiesced = false;
    device->pause([&] { quiesced = true; });
    device->reset();
    EXPECT_TRUE(quiesced);
}

TEST_P(BlockTest, R10_ABrokenRingStopsTheDeviceOnly) {
    if (GetParam().ring.has(virtio::feature::ring_packed))
        GTEST_SKIP() << "a packed ring has no available index";
    queue->add({readable(Header{in, 0, 0}), writable(512), writable(1)});
    const auto available = queue->registers().driver;
    ASSERT_TRUE(fake.memory().store<std::uint16_t>({available.value + 2}, 9999));
    kick();
    EXPECT_EQ(host.faults.size(), 1U);
    device->reset();
    activate();
    EXPECT_EQ(request({readable(Header{in, 0, 0}), writable(512), writable(1)}), ok);
}

TEST_P(BlockTest, HostErrorsAreTranslated) {
    if (unkind == nullptr)
        GTEST_SKIP();
    unkind->next_result = -ENOSPC;
    EXPECT_EQ(request({readable(Header{out, 0, 0}), readable(pattern(512, 3)), writable(1)}), io_error);
    unkind->next_result = -EOPNOTSUPP;
    EXPECT_EQ(request({readable(Header{write_zeroes, 0, 0}), readable(Range{0, 1, 0}), writable(1)}), unsupported);
    EXPECT_EQ(device->counters().failed, 2U);
}

// Random requests, many in flight, against a model of the disk. Requests in flight never overlap, since their order
// would be the disk's choice.
TEST_P(BlockTest, RandomRequestsAgreeWithAModel) {
    std::mt19937 random(static_cast<unsigned>(GetParam().engine) + 11);
    std::vector<std::byte> model(sectors * 512);
    struct Pending {
        std::uint64_t first;
        std::uint64_t count;
        std::vector<std::byte> expected; ///< of a read
    };
    std::map<std::uint32_t, Pending> pending;
    const auto overlaps = [&](std::uint64_t first, std::uint64_t count) {
        return std::ranges::any_of(pending, [&](const auto& entry) {
            return first < entry.second.first + entry.second.count && entry.second.first < first + count;
        });
    };
    const auto finish = [&](const FakeUsed& used) {
        ASSERT_FALSE(used.bytes.empty());
        ASSERT_EQ(used.bytes.back(), ok);
        const Pending& done = pending.at(used.token);
        if (!done.expected.empty()) {
            ASSERT_TRUE(std::ranges::equal(std::span(used.bytes).first(used.bytes.size() - 1), done.expected));
        }
        pending.erase(used.token);
    };

    unsigned added = 0;
    while (added < 1000) {
        const std::uint64_t count = 1 + random() % 12;
        const std::uint64_t first = random() % (sectors - count + 1);
        if (!overlaps(first, count) && queue->free_slots() >= 8 && random() % 5 != 0) {
            const auto at = std::span(model).subspan(first * 512, count * 512);
            const auto half = static_cast<std::uint32_t>(count * 512 / 2 / 3 * 3);
            const auto rest = static_cast<std::uint32_t>(count * 512) - half;
            Pending next{first, count, {}};
            std::uint32_t token = 0;
            switch (random() % 4) {
            case 0:
            case 1: {
                const auto data = pattern(count * 512, static_cast<unsigned>(random()));
                std::ranges::copy(data, at.begin());
                token = queue->add({readable(Header{out, 0, first}), readable(std::span(data).first(half)),
                                    readable(std::span(data).subspan(half)), writable(1)});
                break;
            }
            case 2:
                next.expected.assign(at.begin(), at.end());
                token = queue->add({readable(Header{in, 0, first}), writable(half), writable(rest), writable(1)});
                break;
            default:
                std::ranges::fill(at, std::byte{0});
                token = queue->add({readable(Header{write_zeroes, 0, 0}),
                                    readable(Range{first, static_cast<std::uint32_t>(count), 1}), writable(1)});
                break;
            }
            pending[token] = std::move(next);
            ++added;
            if (random() % 3 == 0)
                kick();
        } else {
            kick();
            loop.context().run_for(1ms);
            while (const auto used = queue->take_used())
                ASSERT_NO_FATAL_FAILURE(finish(*used));
        }
    }
    kick();
    while (!pending.empty()) {
        const auto used = wait_used();
        ASSERT_TRUE(used);
        ASSERT_NO_FATAL_FAILURE(finish(*used));
    }
    EXPECT_TRUE(file.contents(model.size()) == model);
    EXPECT_EQ(device->counters().refused + device->counters().failed, 0U);
}

} // namespace
} // namespace aerate
