#include "net/net.hpp"

#include "base/check.hpp"
#include "base/endian.hpp"
#include "base/log.hpp"

#include <algorithm>

namespace aerate {

using namespace net;

Result<std::unique_ptr<Net>> Net::create(EventLoop& loop, GuestMemory& memory, BackEnds back_ends,
                                         const std::string& id, const NetOptions& options) {
    CHECK(!back_ends.empty());
    std::vector<QueuePair> pairs;
    pairs.reserve(back_ends.size());
    for (std::size_t i = 0; i < back_ends.size(); ++i) {
        auto spill = host::zeroed<std::byte>(max_frame);
        if (!spill)
            return fail_errno("cannot have a buffer for the frames of {}", id);
        pairs.emplace_back(static_cast<std::uint16_t>(i), memory, std::move(back_ends[i]), std::move(spill));
    }
    return std::unique_ptr<Net>(new Net(loop, memory, std::move(pairs), id, options));
}

Net::Net(EventLoop& loop, GuestMemory& memory, std::vector<QueuePair> pairs, const std::string& id,
         const NetOptions& options)
    : Device("net:" + id)
    , loop_(loop)
    , memory_(memory)
    , pairs_(std::move(pairs))
    , queue_sizes_(2 * pairs_.size() + 1, queue_size)
    , options_(options)
    , receive_throttle_(loop, options.receive, [this] { serve_all_again(&QueuePair::receive_queue); })
    , transmit_throttle_(loop, options.transmit, [this] { serve_all_again(&QueuePair::transmit_queue); }) {}

Net::~Net() = default;

virtio::FeatureSet Net::offered_features() const {
    const bool offloads = back_end().offloads();
    return virtio::FeatureSet{}
        .with(feature::mac)
        .with(feature::mtu, options_.mtu.has_value())
        .with(feature::status)
        .with(feature::merged_receive_buffers)
        .with(feature::control_queue)
        .with(feature::guest_announce)
        .with(feature::multi_queue, pairs() > 1)
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
    store_little_endian(std::span(bytes).subspan(config::max_virtqueue_pairs), pairs());
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
    const auto place = place_of(index.value, accepted_, pairs());
    if (!place)
        return false;
    switch (place->role) {
    case Role::receive:
        return receive(pairs_[place->pair], queue);
    case Role::transmit:
        return transmit(pairs_[place->pair], queue);
    case Role::control:
        return control(queue);
    }
    return false;
}

bool Net::waits(virtio::QueueIndex index) const {
    const auto place = place_of(index.value, accepted_, pairs());
    if (!place)
        return true; // nobody looks at what is there
    const QueuePair& pair = pairs_[place->pair];
    switch (place->role) {
    case Role::receive:
        return pair.no_frames || gone_ || !uses(pair) || receive_throttle_.waits();
    case Role::transmit:
        return pair.room.active() || (uses(pair) && transmit_throttle_.waits());
    case Role::control:
        return false;
    }
    return false;
}

void Net::serve_all_again(virtio::QueueIndex QueuePair::* queue) {
    ++turn_;
    for (std::size_t i = 0; i < used_pairs_; ++i)
        serve_again(pairs_[(turn_ + i) % used_pairs_].*queue);
}

void Net::on_activate(virtio::FeatureSet features) {
    CHECK(loop_.owned_here());
    accepted_ = features;
    set_offloads(features);
}

void Net::set_offloads(virtio::FeatureSet features) {
    offloads_ = virtio::FeatureSet{features.bits & guest_offload_features.bits};
    for (const QueuePair& pair : pairs_)
        pair.back_end->set_guest_offloads(guest_offloads(offloads_));
}

bool Net::use_pairs(std::uint16_t count) {
    CHECK(count >= 1 && count <= pairs());
    const std::uint16_t before = used_pairs_;
    for (; used_pairs_ < count; ++used_pairs_) {
        QueuePair& pair = pairs_[used_pairs_];
        if (!pair.back_end->set_used(true)) {
            (void)use_pairs(before);
            return false;
        }
        if (active())
            host().kick_again(pair.receive_queue);
    }
    while (used_pairs_ > count) {
        QueuePair& pair = pairs_[--used_pairs_];
        put_down(pair);
        publish(pair.receive_queue);
        (void)pair.back_end->set_used(false);
        if (active())
            host().kick_again(pair.transmit_queue); // what is left there goes nowhere, and is the driver's again
    }
    return true;
}

void Net::on_reset() {
    CHECK(loop_.owned_here());
    for (QueuePair& pair : pairs_) {
        pair.stop_receiving();
        pair.frame.reset();
        pair.chains.forget();
        pair.room.cancel();
    }
    (void)use_pairs(1); // 5.1.6.5.5: others are used when the driver has said so
    accepted_ = {};
    set_offloads({});
    announcement_.reset();
    next_round_.cancel();
    announce_bit_ = false;
    pulse_ = Pulse::none;
    pulse_end_.cancel();
}

void Net::on_pause() {
    for (QueuePair& pair : pairs_)
        put_down(pair);
    next_round_.cancel();
    pulse_end_.cancel();
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
    log::warning("{}: {} has ended: the guest's link is down", name(), back_end().label());
    for (QueuePair& pair : pairs_)
        pair.stop_receiving();
    config_changed();
}

} // namespace aerate
