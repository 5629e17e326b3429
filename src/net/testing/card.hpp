// A network card with its driver and its back ends, all of a test.
#pragma once

#include "base/check.hpp"
#include "base/endian.hpp"
#include "net/net.hpp"
#include "net/testing/fake_back_end.hpp"
#include "virtio/testing/fake_driver.hpp"

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

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

inline constexpr virtio::FeatureSet everything_and_pairs = everything.with(feature::multi_queue);

class Card {
public:
    explicit Card(virtio::FeatureSet ring = split_ring_with_events, virtio::FeatureSet accepted = everything,
                  const NetOptions& options = {.mac = own_mac}, std::size_t pairs = 1)
        : ring_(ring)
        , accepted_(accepted)
        , back_ends(make_back_ends(pairs))
        , back_end(back_ends.front())
        , net(Net::create(loop, fake.memory(), {back_ends.begin(), back_ends.end()}, "eth0", options).value()) {
        activate();
    }
    void activate() {
        receive.emplace(fake.queue(Net::queue_size, ring_));
        transmit.emplace(fake.queue(Net::queue_size, ring_));
        control.emplace(fake.queue(Net::queue_size, ring_));
        more_pairs.clear();
        std::vector<virtio::Virtqueue*> queues{&receive->device(), &transmit->device()};
        for (std::size_t i = 1; accepted_.has(feature::multi_queue) && i < back_ends.size(); ++i) {
            more_pairs.push_back({fake.queue(Net::queue_size, ring_), fake.queue(Net::queue_size, ring_)});
            queues.push_back(&more_pairs.back().receive.device());
            queues.push_back(&more_pairs.back().transmit.device());
        }
        control_index = static_cast<std::uint16_t>(queues.size());
        queues.push_back(&control->device());
        queues.resize(2 * back_ends.size() + 1);
        net->activate({virtio::FeatureSet{ring_.bits | accepted_.bits}, queues, &host});
    }
    /// The answer to a command of the driver's.
    std::byte command(const std::vector<std::uint8_t>& bytes) {
        control->add({readable(std::as_bytes(std::span(bytes))), writable(1)});
        kick_control();
        const auto used = control->take_used();
        CHECK(used && used->written == 1);
        return used->bytes[0];
    }
    std::byte set_pairs(unsigned pairs) {
        return command({4, 0, static_cast<std::uint8_t>(pairs), static_cast<std::uint8_t>(pairs >> 8)});
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
    void kick_control() { net->kicked({control_index}); }
    [[nodiscard]] std::uint16_t status() {
        std::array<std::byte, 2> bytes{};
        net->read_config(config::status, bytes);
        return load_little_endian<std::uint16_t>(bytes);
    }

    EventLoop loop;
    FakeDriver fake;
    FakeHost host;

private:
    using FakeBackEnds = std::vector<std::shared_ptr<FakeBackEnd>>;
    static FakeBackEnds make_back_ends(std::size_t count) {
        FakeBackEnds all;
        for (std::size_t i = 0; i < count; ++i)
            all.push_back(std::make_shared<FakeBackEnd>(i == 0));
        return all;
    }
    virtio::FeatureSet ring_;
    virtio::FeatureSet accepted_;

public:
    struct Pair {
        FakeQueue receive;
        FakeQueue transmit;
    };
    FakeBackEnds back_ends;
    std::shared_ptr<FakeBackEnd> back_end; ///< the first
    std::unique_ptr<Net> net;
    std::optional<FakeQueue> receive;
    std::optional<FakeQueue> transmit;
    std::optional<FakeQueue> control;
    std::uint16_t control_index = 2;
    std::vector<Pair> more_pairs; ///< behind the first
};

} // namespace aerate::net::testing
