// The driver's transport against the device's, register by register. The test's thread is the vCPU.
#include "balloon/balloon.hpp"
#include "base/endian.hpp"
#include "guestkit/balloon_driver.hpp"
#include "guestkit/mmio_transport.hpp"
#include "virtio/mmio_transport.hpp"
#include "virtio/testing/fake_driver.hpp"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace aerate::guestkit {
namespace {

constexpr MmioSlots slots{{0xd000'0000}, {0x1000}, 4};
constexpr std::uint64_t device_slot = 2;

/// guestkit::MmioAccess; the other slots are empty, and read as ones.
struct Access {
    virtio::MmioTransport* device;
    GuestMemory* ram;

    [[nodiscard]] static bool at_device(GuestAddress address) {
        return (address.value - slots.first.value) / slots.stride.value == device_slot;
    }
    [[nodiscard]] std::uint32_t read(GuestAddress address) const {
        if (!at_device(address))
            return UINT32_MAX;
        std::array<std::byte, 4> bytes{};
        device->read({address.value % slots.stride.value}, bytes);
        return load_little_endian<std::uint32_t>(bytes);
    }
    void write(GuestAddress address, std::uint32_t value) const {
        std::array<std::byte, 4> bytes{};
        store_little_endian(bytes, value);
        if (at_device(address))
            device->write({address.value % slots.stride.value}, bytes);
    }
    [[nodiscard]] std::byte* memory(GuestAddress address) const { return ram->span(address, page_size)->data(); }
};

using Transport = MmioTransport<Access>;

class MmioDriver : public ::testing::Test {
protected:
    MmioDriver() {
        zone_.add(zone_.frames());
        thread_ = std::thread([this] { loop_.run(); });
    }
    ~MmioDriver() override {
        loop_.call([&] { device_.reset(); });
        loop_.stop();
        thread_.join();
    }
    Arena make_arena() {
        const RingMemory memory = fake_.allocator().allocate_ring({1U << 17});
        return {memory, {1U << 17}};
    }
    /// Polls until it is so; false when that takes too long.
    template <typename Driver>
    static bool poll_until(Driver& driver, auto condition) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (!condition()) {
            if (std::chrono::steady_clock::now() > end)
                return false;
            driver.poll();
            std::this_thread::yield();
        }
        return true;
    }

    using RingMemory = virtio::RingMemory;
    virtio::testing::FakeDriver fake_;
    EventLoop loop_;
    EventFd interrupt_ = EventFd::create().value();
    balloon::Balloon balloon_{{.free_page_hinting = true, .free_page_reporting = true}, fake_.memory(), loop_};
    std::unique_ptr<virtio::MmioTransport> device_ =
        virtio::MmioTransport::create(balloon_, fake_.memory(), loop_, interrupt_, {}).value();
    Access access_{device_.get(), &fake_.memory()};
    std::vector<FrameRecord> records_{4096};
    // The upper half of the guest's memory; its rings are in the lower.
    Zone zone_{{frame_of(virtio::testing::FakeDriver::high.start), {4096}}, records_, {}};
    BuddyAllocator allocator_{{&zone_, 1}};
    std::thread thread_;
};

TEST_F(MmioDriver, FindsTheDevice) {
    EXPECT_TRUE(Transport::find(access_, slots, balloon_device_type));
    EXPECT_FALSE(Transport::find(access_, slots, 2));
    EXPECT_FALSE(Transport::find(access_, {slots.first, slots.stride, device_slot}, balloon_device_type));
}

TEST_F(MmioDriver, Negotiates) {
    auto transport = *Transport::find(access_, slots, balloon_device_type);
    const auto wanted = virtio::FeatureSet{}.with(virtio::feature::version_1).with(5).with(17);
    const auto accepted = transport.negotiate(wanted);
    ASSERT_TRUE(accepted);
    EXPECT_EQ(*accepted, wanted.with(17, false));
    EXPECT_EQ(transport.status(), 0x0b);
    EXPECT_FALSE(transport.negotiate({0})) << "without VERSION_1";
    EXPECT_EQ(transport.max_queue_size(0), 128U);
    EXPECT_EQ(transport.max_queue_size(100), 0U);
    EXPECT_EQ(device_->counters().refused_features, 1U);
}

template <typename Ring>
class MmioRings : public MmioDriver {};
using Rings = ::testing::Types<virtio::SplitDriver, virtio::PackedDriver>;
TYPED_TEST_SUITE(MmioRings, Rings);

TYPED_TEST(MmioRings, RunTheWholeBalloon) {
    auto transport = *Transport::find(this->access_, slots, balloon_device_type);
    auto driver =
        BalloonDriver<TypeParam, Transport>::start(transport, this->allocator_, this->make_arena(), BalloonOptions{});
    ASSERT_TRUE(driver);
    EXPECT_EQ(transport.status(), 0x0f);

    EXPECT_TRUE(this->poll_until(*driver, [&] { return this->allocator_.reported_pages() == PageCount{4096}; }));
    this->loop_.call([&] { ASSERT_TRUE(this->balloon_.set_target({700})); });
    EXPECT_NE(transport.take_interrupts() & virtio::interrupt_reason::config_change, 0U);
    EXPECT_EQ(transport.take_interrupts(), 0U) << "once";
    driver->config_changed();
    EXPECT_TRUE(this->poll_until(*driver, [&] { return driver->inflation().inflated() == PageCount{700}; }));
    EXPECT_EQ(this->loop_.call([&] { return this->balloon_.actual(); }), PageCount{700});
    EXPECT_EQ(this->device_->counters().ignored_writes, 0U);
}

} // namespace
} // namespace aerate::guestkit
