#include "net/net.hpp"

#include "base/check.hpp"
#include "base/endian.hpp"
#include "base/log.hpp"

#include <algorithm>

namespace aerate {

using namespace net;

Result<std::unique_ptr<Net>> Net::create(EventLoop& loop, GuestMemory& memory, std::shared_ptr<BackEnd> back_end,
                                         const std::string& id, const NetOptions& options) {
    auto spill = host::zeroed<std::byte>(max_frame);
    if (!spill)
        return fail_errno("cannot have a buffer for the frames of {}", id);
    return std::unique_ptr<Net>(new Net(loop, memory, std::move(back_end), id, options, std::move(spill)));
}

Net::Net(EventLoop& loop, GuestMemory& memory, std::shared_ptr<BackEnd> back_end, const std::string& id,
         const NetOptions& options, std::unique_ptr<std::byte[], host::FreeMemory> spill)
    : Device("net:" + id)
    , loop_(loop)
    , memory_(memory)
    , back_end_(std::move(back_end))
    , options_(options)
    , chains_(memory)
    , spill_(std::move(spill))
    , receive_throttle_(loop, options.receive, [this] { serve_again(receive_queue); })
    , transmit_throttle_(loop, options.transmit, [this] { serve_again(transmit_queue); }) {}

Net::~Net() = default;

virtio::FeatureSet Net::offered_features() const {
    const bool offloads = back_end_->offloads();
    return virtio::FeatureSet{}
        .with(feature::mac)
        .with(feature::mtu, options_.mtu.has_value())
        .with(feature::status)
        .with(feature::merged_receive_buffers)
        .with(feature::control_queue)
        .with(feature::guest_announce)
        .with(feature::csum, offloads)
        .with(feature::host_tso4, offloads)
        .with(feature::host_tso6, offloads)
        .with(feature::guest_csum, offloads)
        .with(feature::guest_tso4, offloads)
        .with(feature::guest_tso6, offloads)
        .with(feature::ctrl_guest_offloads, offloads);
}

std::uint16_t Net::status() const {
    const bool up = !gone_ && pulse_ != Pulse::down;
    return static_cast<std::uint16_t>((up ? status::link_up : 0U) | (announce_bit_ ? status::announce : 0U));
}

void Net::read_config(std::uint32_t offset, std::span<std::byte> into) {
    std::array<std::byte, config::size> bytes{};
    std::ranges::copy(std::as_bytes(std::span(options_.mac)), bytes.begin() + config::mac);
    store_little_endian(std::span(bytes).subspan(config::status), status());
    store_little_endian(std::span(bytes).subspan(config::max_virtqueue_pairs), pairs);
    store_little_endian(std::span(bytes).subspan(config::mtu), options_.mtu.value_or(0));
    const bool sees_status = offset <= config::status + 1 && offset + into.size() > config::status;
    for (std::byte& byte : into) {
        byte = offset < bytes.size() ? bytes[offset] : std::byte{0};
        offset += offset < bytes.size() ? 1 : 0;
    }
    // In a moment: the driver may read the second half of it first.
    if (sees_status && pulse_ == Pulse::down && active())
        pulse_end_ = loop_.after(std::chrono::milliseconds(50), [this] { end_pulse(); });
}

Net::Served Net::serve(virtio::QueueIndex index, virtio::Virtqueue& queue) {
    CHECK(loop_.owned_here());
    const auto place = place_of(index.value, accepted_, pairs);
    if (!place)
        return false;
    switch (place->role) {
    case Role::receive:
        return receive(queue);
    case Role::transmit:
        return transmit(queue);
    case Role::control:
        return control(queue);
    }
    return false;
}

bool Net::waits(virtio::QueueIndex index) const {
    if (index == receive_queue)
        return no_frames_ || gone_ || receive_throttle_.waits();
    return index == transmit_queue && (room_.active() || transmit_throttle_.waits());
}

void Net::on_activate(virtio::FeatureSet features) {
    CHECK(loop_.owned_here());
    accepted_ = features;
    set_offloads(features);
}

void Net::set_offloads(virtio::FeatureSet features) {
    offloads_ = virtio::FeatureSet{features.bits & guest_offload_features.bits};
    back_end_->set_guest_offloads(guest_offloads(offloads_));
}

void Net::on_reset() {
    CHECK(loop_.owned_here());
    stop_receiving();
    frame_.reset();
    chains_.forget();
    room_.cancel();
    accepted_ = {};
    set_offloads({});
    announcement_.reset();
    next_round_.cancel();
    announce_bit_ = false;
    pulse_ = Pulse::none;
    pulse_end_.cancel();
}

/// What was read is delivered, whatever the rate limiter says, or counted as lost where the driver has no room for it;
/// the other buffers are the ring's again.
void Net::on_pause() {
    stop_receiving();
    room_.cancel();
    next_round_.cancel();
    pulse_end_.cancel();
    virtio::Virtqueue* const queue = virtqueue(receive_queue);
    if (queue == nullptr)
        return;
    if (frame_) {
        const auto delivered = deliver(*queue, false);
        if (!delivered || !*delivered)
            ++counters_.rx_fails;
        frame_.reset();
    }
    chains_.give_back(*queue);
}

void Net::on_resume() {
    if (!active())
        return;
    if (announcement_)
        announce_now();
    if (pulse_ != Pulse::none)
        begin_pulse();
}

void Net::change_limits(const protocol::RateLimits& receive, const protocol::RateLimits& transmit) {
    CHECK(loop_.owned_here());
    receive_throttle_.change(receive);
    transmit_throttle_.change(transmit);
}

void Net::back_end_gone() {
    if (std::exchange(gone_, true))
        return;
    log::warning("{}: {} has ended: the guest's link is down", name(), back_end_->label());
    stop_receiving();
    config_changed();
}

} // namespace aerate
