// A network card with its driver and its back end, all of a test.
#pragma once

#include "base/endian.hpp"
#include "net/net.hpp"
#include "net/testing/fake_back_end.hpp"
#include "virtio/testing/fake_driver.hpp"

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

namespace aerate::net::testing {

using namespace virtio::testing;

inline constexpr MacAddress own_mac{2, 0, 0, 0, 0, 1};
inline constexpr virtio::FeatureSet everything = virtio::FeatureSet{guest_offload_features.bits}
                                                     .with(feature::csum)
                                                     .with(feature::mac)
                                                     .with(feature::status)
                                                     .with(feature::merged_receive_buffers)
                                                     .with(feature::control_queue)
                                                     .with(feature::ctrl_guest_offloads)
                                                     .with(feature::guest_announce);

class Card {
public:
    explicit Card(virtio::FeatureSet ring = split_ring_with_events, virtio::FeatureSet accepted = everything,
                  const NetOptions& options = {.mac = own_mac})
        : ring_(ring)
        , accepted_(accepted)
        , net(Net::create(loop, fake.memory(), back_end, "eth0", options).value()) {
        activate();
    }
    void activate() {
        receive.emplace(fake.queue(Net::queue_size, ring_));
        transmit.emplace(fake.queue(Net::queue_size, ring_));
        control.emplace(fake.queue(Net::queue_size, ring_));
        virtio::Virtqueue* const queues[] = {&receive->device(), &transmit->device(), &control->device()};
        net->activate({virtio::FeatureSet{ring_.bits | accepted_.bits}, queues, &host});
    }
    /// Does what the transport would: serves queues that asked for it, and what the loop has.
    void run(int turns = 20) {
        for (int i = 0; i < turns; ++i) {
            loop.context().restart();
            (void)loop.context().poll();
            for (const virtio::QueueIndex queue : std::exchange(host.kicks_again, {}))
                net->kicked(queue);
        }
    }
    void run_for(std::chrono::milliseconds time) {
        loop.context().restart();
        (void)loop.context().run_for(time);
        run();
    }
    void kick_receive() { net->kicked({0}); }
    void kick_transmit() { net->kicked({1}); }
    void kick_control() { net->kicked({2}); }
    [[nodiscard]] std::uint16_t status() {
        std::array<std::byte, 2> bytes{};
        net->read_config(config::status, bytes);
        return load_little_endian<std::uint16_t>(bytes);
    }

    EventLoop loop;
    FakeDriver fake;
    FakeHost host;
    std::shared_ptr<FakeBackEnd> back_end = std::make_shared<FakeBackEnd>();

private:
    virtio::FeatureSet ring_;
    virtio::FeatureSet accepted_;

public:
    std::unique_ptr<Net> net;
    std::optional<FakeQueue> receive;
    std::optional<FakeQueue> transmit;
    std::optional<FakeQueue> control;
};

} // namespace aerate::net::testing
