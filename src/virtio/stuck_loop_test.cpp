// A device whose thread never comes back: case T10 of docs/hostile-inputs.md. Devices are no processes of their own, so
// none can be killed; but each loop stands alone, and a vCPU waits only for the loop of the device that it asks.
#include "base/endian.hpp"
#include "event/loop_thread.hpp"
#include "virtio/mmio_registers.hpp"
#include "virtio/mmio_transport.hpp"
#include "virtio/testing/echo_device.hpp"
#include "virtio/testing/fake_driver.hpp"
#include "virtio/testing/raw_ring.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <thread>

namespace aerate::virtio {
namespace {

using namespace testing;
namespace reg = mmio_register;

/// A device on a loop of its own, as a driver sees it.
class DeviceOnALoop {
public:
    explicit DeviceOnALoop(FakeDriver& fake)
        : fake_(fake)
        , device_(fake.memory()) {
        CHECK(thread_.start());
    }
    DeviceOnALoop(const DeviceOnALoop&) = delete;
    DeviceOnALoop& operator=(const DeviceOnALoop&) = delete;
    ~DeviceOnALoop() {
        thread_.loop().call([&] { transport_.reset(); });
        thread_.stop();
    }

    std::uint32_t read(std::uint32_t offset) {
        std::array<std::byte, 4> bytes{};
        transport_->read({offset}, bytes);
        return load_little_endian<std::uint32_t>(bytes);
    }
    void write(std::uint32_t offset, std::uint32_t value) {
        std::array<std::byte, 4> bytes;
        store_little_endian(bytes, value);
        transport_->write({offset}, bytes);
    }
    void start() {
        write(reg::status, 0);
        write(reg::status, 1);
        write(reg::status, 3);
        write(reg::driver_features_select, 1);
        write(reg::driver_features, static_cast<std::uint32_t>(split_ring.bits >> 32));
        write(reg::status, 11);
        queue.emplace(fake_.queue(8, split_ring));
        const auto registers = queue->registers();
        write(reg::queue_select, 0);
        write(reg::queue_size, registers.size);
        write(reg::queue_descriptors_low, static_cast<std::uint32_t>(registers.descriptors.value));
        write(reg::queue_driver_low, static_cast<std::uint32_t>(registers.driver.value));
        write(reg::queue_device_low, static_cast<std::uint32_t>(registers.device.value));
        write(reg::queue_ready, 1);
        write(reg::status, 15);
    }
    /// Returns whether a chain comes back.
    bool serves() {
        queue->add({writable(4)});
        write(reg::queue_notify, 0);
        return comes_back();
    }
    bool comes_back() {
        for (int i = 0; i < 20; ++i) {
            // Each round lets the loop do what was ready before.
            std::promise<void> done;
            thread_.loop().post([&] { done.set_value(); });
            done.get_future().wait();
            if (queue->take_used())
                return true;
        }
        return false;
    }
    EventLoop& loop() { return thread_.loop(); }
    MmioTransport& transport() { return *transport_; }

    std::optional<FakeQueue> queue;

private:
    FakeDriver& fake_;
    LoopThread thread_{"test"};
    EventFd interrupt_ = EventFd::create().value();
    EchoDevice device_;
    std::unique_ptr<MmioTransport> transport_ =
        MmioTransport::create(device_, fake_.memory(), thread_.loop(), interrupt_, {}).value();
};

TEST(StuckLoop, T10_HoldsUpNoOtherDevice) {
    FakeDriver fake;
    DeviceOnALoop stuck(fake);
    DeviceOnALoop other(fake);
    stuck.start();
    other.start();
    std::promise<void> held;
    std::promise<void> release;
    stuck.loop().post([&] {
        held.set_value();
        release.get_future().wait();
    });
    held.get_future().wait();

    // A vCPU that asks the stuck device waits for it, and only that one.
    std::atomic<bool> answered = false;
    std::thread vcpu([&] {
        (void)stuck.read(reg::status);
        answered = true;
    });
    EXPECT_TRUE(other.serves());
    EXPECT_EQ(other.read(reg::status), 15U);
    other.start();
    EXPECT_TRUE(other.serves()) << "a reset and a new life of the other";

    // Kicks and what an interrupt handler does are answered without the loop.
    stuck.queue->add({writable(4)});
    for (int i = 0; i < 10'000; ++i)
        stuck.write(reg::queue_notify, 0);
    EXPECT_EQ(stuck.read(reg::interrupt_status), 0U);
    stuck.write(reg::interrupt_ack, 3);
    EXPECT_EQ(stuck.transport().counters().needs_reset, 0U);
    EXPECT_FALSE(answered);

    release.set_value();
    vcpu.join();
    EXPECT_TRUE(stuck.comes_back()) << "and it serves what was kicked meanwhile";
}

TEST(StuckLoop, T10_ADeviceThatIsPausedOrBrokenLeavesOthersServing) {
    FakeDriver fake;
    DeviceOnALoop paused(fake);
    DeviceOnALoop broken(fake);
    DeviceOnALoop other(fake);
    for (DeviceOnALoop* device : {&paused, &broken, &other})
        device->start();
    paused.loop().call([&] { paused.transport().pause([] {}); });
    RawSplitRing(fake.memory(), broken.queue->registers()).available_index(1000);
    broken.write(reg::queue_notify, 0);

    EXPECT_FALSE(paused.serves());
    EXPECT_FALSE(broken.comes_back());
    EXPECT_EQ(broken.read(reg::status), 15U | device_status::needs_reset);
    EXPECT_TRUE(other.serves());
    EXPECT_EQ(other.read(reg::status), 15U);
    EXPECT_EQ(paused.read(reg::status), 15U) << "registers still answer";

    broken.start();
    EXPECT_TRUE(broken.serves());
    paused.loop().call([&] { paused.transport().resume(); });
    EXPECT_TRUE(paused.comes_back());
}

} // namespace
} // namespace aerate::virtio
