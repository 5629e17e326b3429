// A disk that takes its time, or for ever, while the guest does what it likes with the memory of its requests: cases
// B14, T8 and T10 of docs/hostile-inputs.md.
#include "block/block.hpp"
#include "block/testing/block_wire.hpp"
#include "block/testing/held_engine.hpp"
#include "entropy/entropy.hpp"
#include "virtio/testing/fake_driver.hpp"
#include "virtio/testing/raw_ring.hpp"

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>
#include <unistd.h>

#include <sys/mman.h>

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace aerate {
namespace {

using namespace std::chrono_literals;
using namespace testing;
using namespace virtio::testing;

class SlowDisk : public ::testing::TestWithParam<virtio::FeatureSet> {
protected:
    static constexpr std::uint64_t disk_bytes = 64U << 10;

    void SetUp() override {
        const std::vector<std::byte> contents(disk_bytes, std::byte{0x77});
        ASSERT_EQ(::pwrite(file.get(), contents.data(), contents.size(), 0), static_cast<ssize_t>(contents.size()));
        auto image = DiskImage::open({.path = "/proc/self/fd/" + std::to_string(file.get())});
        ASSERT_TRUE(image) << image.error().message;
        auto made = std::make_unique<HeldEngine>(image->fd());
        engine = made.get();
        disk = std::make_unique<Block>(loop, fake.memory(), std::make_shared<DiskImage>(std::move(*image)),
                                       std::move(made), "slow");
        activate();
    }
    void activate() {
        queue = fake.queue(64, GetParam());
        virtio::Virtqueue* const queues[] = {&queue.device()};
        disk->activate({virtio::FeatureSet{disk->offered_features().bits | GetParam().bits}, queues, &host});
    }
    void add_read(GuestAddress into, std::uint32_t length, GuestAddress status) {
        queue.add({readable(Header{in, 0, 0}), writable_at(into, length), writable_at(status, 1)});
    }
    void run() { loop.context().run_for(5ms); }
    [[nodiscard]] std::byte byte_at(GuestAddress address) {
        std::array<std::byte, 1> byte{};
        EXPECT_TRUE(fake.memory().read(address, byte));
        return byte[0];
    }
    void discard(GuestAddress first, GuestAddress end) {
        const PageRange pages = whole_pages_inside(first, {end.value - first.value});
        ASSERT_EQ(fake.memory().discard(std::array{pages}).discarded, pages.count);
    }

    EventLoop loop;
    FakeDriver fake;
    FakeHost host;
    FileDescriptor file{::memfd_create("disk", MFD_CLOEXEC)};
    std::unique_ptr<Block> disk;
    HeldEngine* engine = nullptr;
    FakeQueue queue = fake.queue(64, GetParam());
};

INSTANTIATE_TEST_SUITE_P(Rings, SlowDisk,
                         ::testing::Values(split_ring, split_ring_with_events, packed_ring_with_events));

// Inflated or reported: either way the balloon ends in GuestMemory::discard(), and has no other way to memory.
TEST_P(SlowDisk, B14_PagesGivenUpWhileTheDiskFillsThem) {
    const GuestAddress buffer = fake.allocate({4 * 4096}, 4096);
    const GuestAddress status = fake.allocate({4096}, 4096);
    ASSERT_TRUE(fake.memory().fill(status, {1}, std::byte{0xee}));
    ASSERT_TRUE(fake.memory().fill(buffer, {4 * 4096}, std::byte{0xaa}));
    auto& log = fake.memory().write_log();
    log.start();
    PageBitmap dirty(fake.memory().address_space());
    add_read(buffer, 4 * 4096, status);
    disk->kicked({0});
    discard({buffer.value + 4096}, {buffer.value + 3 * 4096});
    EXPECT_EQ(byte_at(buffer), std::byte{0xaa});
    EXPECT_EQ(byte_at({buffer.value + 4096}), std::byte{0});
    log.take(dirty);
    dirty.clear_all();

    engine->release();
    run();
    ASSERT_TRUE(queue.take_used());
    EXPECT_EQ(byte_at(status), std::byte{0});
    for (std::uint64_t at = 0; at < 4 * 4096; at += 512)
        EXPECT_EQ(byte_at({buffer.value + at}), std::byte{0x77}) << "the page is the guest's, whoever gave it up";
    log.take(dirty);
    EXPECT_EQ(dirty.count({frame_of(buffer), {4}}), PageCount{4}) << "recorded at completion, after the discard was";
    EXPECT_EQ(disk->counters().failed + disk->counters().refused, 0U);
}

// All that the requests in flight consist of turns into zeros: rings, headers, data, status bytes.
TEST_P(SlowDisk, T8_EverythingIsDiscardedInFlight) {
    const GuestAddress buffer = fake.allocate({8 * 4096}, 4096);
    const GuestAddress status = fake.allocate({8});
    for (std::uint64_t i = 0; i < 8; ++i)
        add_read({buffer.value + i * 4096}, 4096, {status.value + i});
    disk->kicked({0});
    discard({1U << 20}, {16U << 20});
    engine->release();
    run();
    EXPECT_EQ(disk->counters().reads, 8U) << "what was parsed is not read again";
    EXPECT_EQ(queue.device().in_flight(), 0);
    EXPECT_EQ(byte_at({buffer.value + 7 * 4096}), std::byte{0x77});

    disk->kicked({0});
    if (GetParam().has(virtio::feature::ring_packed)) {
        EXPECT_TRUE(host.faults.empty());
    } else {
        EXPECT_EQ(host.faults.size(), 1U);
        EXPECT_EQ(queue.device().fault(), virtio::RingFault::available_jumped);
    }
    disk->reset();
    activate();
    add_read(buffer, 512, status);
    disk->kicked({0});
    run();
    EXPECT_TRUE(queue.take_used());
}

// On one loop with others: the disk's file system hangs, say.
TEST_P(SlowDisk, T10_ADiskThatNeverAnswersHoldsUpNobodyElse) {
    Entropy entropy(loop, fake.memory());
    FakeHost entropy_host;
    FakeQueue entropy_queue = fake.queue(64, GetParam());
    virtio::Virtqueue* const queues[] = {&entropy_queue.device()};
    entropy.activate({GetParam(), queues, &entropy_host});

    const GuestAddress buffer = fake.allocate({4096}, 4096);
    add_read(buffer, 4096, fake.allocate({1}));
    disk->kicked({0});
    bool quiesced = false;
    disk->pause([&] { quiesced = true; });
    run();
    EXPECT_FALSE(queue.take_used());
    EXPECT_FALSE(quiesced) << "a pause waits for it, and the loop does not wait for the pause";

    for (int i = 0; i < 100; ++i) {
        entropy_queue.add({writable(16)});
        entropy.kicked({0});
        const auto used = entropy_queue.take_used();
        ASSERT_TRUE(used);
        EXPECT_EQ(used->written, 16U);
    }
    // The guest can give the disk up.
    disk->reset();
    EXPECT_TRUE(quiesced);
    engine->release();
    run();
    EXPECT_EQ(byte_at(buffer), std::byte{0}) << "and nothing of the old request comes late";
    disk->resume();
    activate();
    add_read(buffer, 512, fake.allocate({1}));
    disk->kicked({0});
    run();
    EXPECT_TRUE(queue.take_used());
    EXPECT_EQ(byte_at(buffer), std::byte{0x77});
}

TEST_P(SlowDisk, T10_ADeviceThatNeedsResetLeavesTheDiskServing) {
    Entropy entropy(loop, fake.memory());
    FakeHost entropy_host;
    FakeQueue entropy_queue = fake.queue(64, GetParam());
    virtio::Virtqueue* const queues[] = {&entropy_queue.device()};
    entropy.activate({GetParam(), queues, &entropy_host});
    if (GetParam().has(virtio::feature::ring_packed))
        RawPackedRing(fake.memory(), entropy_queue.registers())
            .descriptor(0, {0, 4, 9999, virtio::descriptor_flag::available});
    else
        RawSplitRing(fake.memory(), entropy_queue.registers()).available_index(9999);
    entropy.kicked({0});
    EXPECT_EQ(entropy_host.faults.size(), 1U);

    engine->release();
    const GuestAddress buffer = fake.allocate({512});
    add_read(buffer, 512, fake.allocate({1}));
    disk->kicked({0});
    run();
    EXPECT_TRUE(queue.take_used());
    EXPECT_EQ(byte_at(buffer), std::byte{0x77});
    EXPECT_TRUE(host.faults.empty());
}

} // namespace
} // namespace aerate
