// What is kept of a network card when its VM is saved, and what it counts.
#include "base/check.hpp"
#include "base/codec.hpp"
#include "net/net.hpp"

namespace aerate {

using namespace net;

namespace {

struct SavedNet {
    MacAddress mac{};
    bool announce{};
    bool link_up{}; ///< as the driver has seen it, or is about to
    std::uint64_t offloads{};
    protocol::RateLimiterState receive{};
    protocol::RateLimiterState transmit{};
};

// Version 2: and the pairs of queues that are used. Without MQ there is one, and an older monitor can read it.
constexpr std::uint32_t state_version = 2;

template <typename Codec>
void describe(Codec& codec, Described<Codec, SavedNet>& saved) {
    codec(saved.mac, saved.announce, saved.link_up, saved.offloads, saved.receive, saved.transmit);
}

} // namespace

virtio::DeviceState Net::save() const {
    CHECK(loop_.owned_here());
    Encoder state;
    state(SavedNet{.mac = options_.mac,
                   .announce = announce_bit_,
                   .link_up = (status() & status::link_up) != 0,
                   .offloads = offloads_.bits,
                   .receive = receive_throttle_.save(),
                   .transmit = transmit_throttle_.save()});
    if (!accepted_.has(feature::multi_queue))
        return {.version = 1, .bytes = state.take()};
    state(used_pairs_);
    return {.version = 2, .bytes = state.take()};
}

Result<> Net::restore(const virtio::DeviceState& state) {
    if (state.version == 0 || state.version > state_version)
        return fail("its state has version {}, this monitor reads up to {}: use the monitor that saved it, or a later "
                    "one",
                    state.version, state_version);
    SavedNet saved;
    Decoder decoder(state.bytes);
    decoder(saved);
    std::uint16_t used_pairs = 1;
    if (state.version >= 2)
        decoder(used_pairs);
    const virtio::FeatureSet offloads{saved.offloads};
    const bool several = accepted_.has(feature::multi_queue);
    if (!decoder.complete() || used_pairs < 1 || used_pairs > (several ? pairs() : 1) ||
        !offloads.within({guest_offload_features.bits & accepted_.bits}) ||
        (saved.announce && !accepted_.has(feature::guest_announce)))
        return fail("its saved state is malformed");
    if (!use_pairs(used_pairs))
        return fail("{} cannot have {} queues at once: see the messages before", back_end().label(), used_pairs);
    set_offloads(offloads);
    announce_bit_ = saved.announce;
    receive_throttle_.restore(saved.receive);
    transmit_throttle_.restore(saved.transmit);
    // A link that was down, because its back end had ended, is not to stay so.
    if ((saved.mac != options_.mac || !saved.link_up) && accepted_.has(feature::status))
        pulse_ = Pulse::wanted;
    return {};
}

std::vector<virtio::Metric> Net::metrics() const {
    CHECK(loop_.owned_here());
    const std::vector<std::pair<std::string, std::string>> device{{"device", name()}};
    const NetCounters& c = counters_;
    std::uint64_t malformed_buffers = 0;
    for (const QueuePair& pair : pairs_)
        malformed_buffers += pair.chains.malformed();
    return {
        {"net_rx_bytes_count", "Bytes of frames that the guest was given", c.rx_bytes, device},
        {"net_rx_packets_count", "Frames that the guest was given", c.rx_packets, device},
        {"net_rx_fails", "Frames for the guest that were lost", c.rx_fails, device},
        {"net_no_rx_avail_buffer", "Times that the guest had no buffer for a frame", c.no_rx_avail_buffer, device},
        {"net_rx_rate_limiter_throttled", "Times that the rate limiter held a frame for the guest back",
         receive_throttle_.throttled(), device},
        {"net_tx_bytes_count", "Bytes of frames that the guest has sent", c.tx_bytes, device},
        {"net_tx_packets_count", "Frames that the guest has sent", c.tx_packets, device},
        {"net_tx_fails", "Frames of the guest that were dropped", c.tx_fails, device},
        {"net_tx_rate_limiter_throttled", "Times that the rate limiter held a frame of the guest back",
         transmit_throttle_.throttled(), device},
        {"net_tx_spoofed_mac_count", "Frames of the guest from an address that is not its own", c.tx_spoofed_mac,
         device},
        {"net_tap_read_fails", "Frames that the back end could not be read for", c.tap_read_fails, device},
        {"net_tap_write_fails", "Frames that the back end refused", c.tap_write_fails, device},
        {"net_cfg_fails", "Writes to the configuration, which is read-only", c.config_writes, device},
        {"net_announcements", "Frames that told the network where the guest is now", c.announcements, device},
        {"guest_net_tx_malformed_frames", "Frames of the guest that made no sense", c.tx_malformed_frames, device},
        {"guest_net_rx_malformed_buffers", "Receive buffers that made no sense", malformed_buffers, device},
        {"guest_net_control_refused", "Control commands that made no sense", c.control_refused, device},
    };
}

} // namespace aerate
