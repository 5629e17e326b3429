// A fixture of tests: the register file of a device as a guest sees it. The test's thread is a vCPU; the loop runs on
// another.
#pragma once

#include "base/endian.hpp"
#include "virtio/mmio_registers.hpp"
#include "virtio/mmio_transport.hpp"
#include "virtio/testing/echo_device.hpp"
#include "virtio/testing/fake_driver.hpp"

#include <gtest/gtest.h>

#include <array>
#include <future>
#include <memory>
#include <thread>
#include <utility>

namespace aerate::virtio::testing {

namespace reg = mmio_register;
using namespace device_status;

inline constexpr std::uint8_t ready_to_run = acknowledge | driver | features_ok;
inline constexpr std::uint8_t runs = ready_to_run | driver_ok;

class Mmio : public ::testing::Test {
protected:
    FakeDriver fake_;
    EventLoop loop_;
    EventFd interrupt_ = EventFd::create().value();
    EchoDevice device_{fake_.memory()};
    std::unique_ptr<MmioTransport> transport_ =
        MmioTransport::create(device_, fake_.memory(), loop_, interrupt_, {}).value();
    std::thread thread_{[this] { loop_.run(); }};

    ~Mmio() override {
        loop_.call([&] { transport_.reset(); });
        loop_.stop();
        thread_.join();
    }

    template <typename F>
    auto on_loop(F f) {
        return loop_.call(f);
    }
    /// Returns once the loop has done what was ready before.
    void settle() {
        for (int i = 0; i < 3; ++i) {
            std::promise<void> done;
            on_loop([&] { loop_.post([&] { done.set_value(); }); });
            done.get_future().wait();
        }
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
    std::uint64_t offered() {
        write(reg::device_features_select, 1);
        const std::uint64_t high = read(reg::device_features);
        write(reg::device_features_select, 0);
        return high << 32 | read(reg::device_features);
    }
    void accept(FeatureSet features) {
        for (unsigned word = 0; word < 2; ++word) {
            write(reg::driver_features_select, word);
            write(reg::driver_features, static_cast<std::uint32_t>(features.bits >> (32 * word)));
        }
    }
    std::uint8_t status() { return static_cast<std::uint8_t>(read(reg::status)); }
    void negotiate(FeatureSet features) {
        write(reg::status, 0);
        write(reg::status, acknowledge);
        write(reg::status, acknowledge | driver);
        accept(features);
        write(reg::status, ready_to_run);
    }
    void place(unsigned index, const QueueRegisters& registers) {
        write(reg::queue_select, index);
        write(reg::queue_size, registers.size);
        const std::pair<std::uint32_t, GuestAddress> areas[] = {{reg::queue_descriptors_low, registers.descriptors},
                                                                {reg::queue_driver_low, registers.driver},
                                                                {reg::queue_device_low, registers.device}};
        for (const auto& [low, address] : areas) {
            write(low, static_cast<std::uint32_t>(address.value));
            write(low + 4, static_cast<std::uint32_t>(address.value >> 32));
        }
        write(reg::queue_ready, 1);
    }
    /// A driver that does everything right, with one queue.
    FakeQueue start(FeatureSet features = split_ring, unsigned index = 0) {
        negotiate(features);
        FakeQueue queue = fake_.queue(8, features);
        place(index, queue.registers());
        write(reg::status, runs);
        return queue;
    }
    std::uint64_t ignored() { return transport_->counters().ignored_writes; }
};

} // namespace aerate::virtio::testing
