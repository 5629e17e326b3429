// virtio-net (virtio 1.2, 5.1): a network card, with a pair of queues for each of its back ends, and a control queue.
//
// Frames are read from the back end straight into the guest's buffers and written straight out of them. A frame's
// header and Ethernet addresses alone are copied on their way out, so that what is looked at is what is sent.
//
// A back end that is full keeps the driver's frames in their ring, and one that has nothing keeps its buffers there:
// the card waits for a descriptor then, or for its rate limiter.
//
// All pairs are one loop's. The first is in use, and others are when the driver says so (VIRTIO_NET_F_MQ). One that is
// not has its receive buffers in their ring; a frame that the driver puts there to be sent is dropped.
#pragma once

#include "base/error.hpp"
#include "event/event_loop.hpp"
#include "memory/guest_memory.hpp"
#include "net/announcement.hpp"
#include "net/backend.hpp"
#include "net/offloads.hpp"
#include "net/queue_layout.hpp"
#include "net/queue_pair.hpp"
#include "net/transmit_frame.hpp"
#include "net/wire.hpp"
#include "protocol/rate_limiter.hpp"
#include "virtio/device.hpp"
#include "virtio/throttle.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace aerate {

/// By Firecracker's names, where both count the same.
struct NetCounters {
    std::uint64_t rx_bytes = 0;
    std::uint64_t rx_packets = 0;
    std::uint64_t rx_fails = 0; ///< frames that did not fit the driver's buffers, or that a pause cut short
    std::uint64_t no_rx_avail_buffer = 0;
    std::uint64_t tx_bytes = 0;
    std::uint64_t tx_packets = 0;
    std::uint64_t tx_fails = 0; ///< frames that the back end did not take
    std::uint64_t tx_malformed_frames = 0;
    std::uint64_t tx_spoofed_mac = 0;
    std::uint64_t tap_read_fails = 0;
    std::uint64_t tap_write_fails = 0;
    std::uint64_t control_refused = 0; ///< commands that were answered with an error
    std::uint64_t config_writes = 0;   ///< of a config space that is read-only
    std::uint64_t announcements = 0;   ///< frames that told the host's bridge where the guest is
};

struct NetOptions {
    net::MacAddress mac{};
    std::optional<std::uint16_t> mtu{};
    bool drop_spoofed = false; ///< frames from the guest whose source is not `mac`
    protocol::RateLimits receive{};
    protocol::RateLimits transmit{};
};

class Net final : public virtio::Device {
public:
    static constexpr std::uint16_t queue_size = 256;

    /// `id` is the interface's, unique in its VM. There is a pair of queues for each of the back ends, which may be
    /// those of a card before this one. REQUIRES: there is one at least.
    [[nodiscard]] static Result<std::unique_ptr<Net>> create(EventLoop&, GuestMemory&, net::BackEnds,
                                                             const std::string& id, const NetOptions&);
    ~Net() override;

    [[nodiscard]] virtio::DeviceType type() const override { return virtio::DeviceType::net; }
    [[nodiscard]] virtio::FeatureSet offered_features() const override;
    [[nodiscard]] std::span<const std::uint16_t> queue_sizes() const override { return queue_sizes_; }
    void read_config(std::uint32_t offset, std::span<std::byte> into) override;
    void write_config(std::uint32_t, std::span<const std::byte>, virtio::FeatureSet) override {
        ++counters_.config_writes;
    }

    /// A guest that had another MAC address when it was saved sees its link go down and up: its DHCP client asks anew.
    [[nodiscard]] virtio::DeviceState save() const override;
    [[nodiscard]] Result<> restore(const virtio::DeviceState&) override;
    [[nodiscard]] std::vector<virtio::Metric> metrics() const override;

    /// The guest has moved here: tells its neighbours, and the network of the back end, as soon as it runs.
    void announce();
    void change_limits(const protocol::RateLimits& receive, const protocol::RateLimits& transmit);
    [[nodiscard]] const NetCounters& counters() const { return counters_; }

private:
    /// A link pulse: down, until the driver has seen that, then up.
    enum class Pulse : std::uint8_t { none, wanted, down };

    Net(EventLoop&, GuestMemory&, std::vector<net::QueuePair>, const std::string& id, const NetOptions&);

    using Served = std::expected<bool, virtio::RingFault>;
    [[nodiscard]] Served serve(virtio::QueueIndex, virtio::Virtqueue&) override;
    [[nodiscard]] bool waits(virtio::QueueIndex) const override;
    void on_activate(virtio::FeatureSet) override;
    void on_reset() override;
    void on_pause() override;
    void on_resume() override;

    // net_receive.cpp
    [[nodiscard]] Served receive(net::QueuePair&, virtio::Virtqueue&);
    /// False: it is not delivered, and waits.
    [[nodiscard]] std::expected<bool, virtio::RingFault> deliver(net::QueuePair&, virtio::Virtqueue&,
                                                                 bool heed_limiter);
    void wait_for_frames(net::QueuePair&);
    void put_down(net::QueuePair&);
    /// Serves all receive queues again, or all transmit queues; each time another one first.
    void serve_all_again(virtio::QueueIndex net::QueuePair::*);
    [[nodiscard]] bool merges() const { return accepted_.has(net::feature::merged_receive_buffers); }

    // net_transmit.cpp
    [[nodiscard]] Served transmit(net::QueuePair&, virtio::Virtqueue&);
    [[nodiscard]] bool send(net::QueuePair&, virtio::Virtqueue&, const virtio::DescriptorChain&);
    void wait_for_room(net::QueuePair&);

    // net_control.cpp
    [[nodiscard]] Served control(virtio::Virtqueue&);
    [[nodiscard]] std::uint32_t answer(const virtio::DescriptorChain&);
    [[nodiscard]] bool carry_out(const virtio::DescriptorChain&);
    void set_offloads(virtio::FeatureSet);
    /// False if the host refuses: there are as many as before then. REQUIRES: there are so many.
    [[nodiscard]] bool use_pairs(std::uint16_t);
    [[nodiscard]] bool uses(const net::QueuePair& pair) const { return pair.receive_queue.value < 2 * used_pairs_; }
    [[nodiscard]] std::uint16_t pairs() const { return static_cast<std::uint16_t>(pairs_.size()); }
    [[nodiscard]] net::BackEnd& back_end() const { return *pairs_.front().back_end; }
    void back_end_gone();
    void announce_now();
    void begin_pulse();
    void end_pulse();
    [[nodiscard]] std::uint16_t status() const;

    EventLoop& loop_;
    GuestMemory& memory_;
    std::vector<net::QueuePair> pairs_;
    std::uint16_t used_pairs_ = 1; ///< the first ones
    std::size_t turn_ = 0;         ///< says who is served first
    const std::vector<std::uint16_t> queue_sizes_;
    const NetOptions options_;
    NetCounters counters_;

    virtio::FeatureSet accepted_;
    virtio::FeatureSet offloads_; ///< that the driver uses now: see GUEST_OFFLOADS
    bool gone_ = false;           ///< the back end is

    virtio::Throttle receive_throttle_; ///< all queues'
    virtio::Throttle transmit_throttle_;
    net::TransmitFrame sent_;
    std::size_t turn_bytes_ = 0; ///< that this turn has sent

    std::optional<net::Announcement> announcement_; ///< under way, or due when the guest runs
    Subscription next_round_;
    bool announce_bit_ = false; ///< of the status
    Pulse pulse_ = Pulse::none;
    Subscription pulse_end_;
};

} // namespace aerate
