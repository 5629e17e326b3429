// Between rest and activity: when the device runs, how it comes to rest, and what it does while it runs.
#include "balloon/config_space.hpp"
#include "balloon/features.hpp"
#include "base/check.hpp"
#include "base/endian.hpp"
#include "base/log.hpp"
#include "vhost_user/back_end.hpp"
#include "virtio/mmio_registers.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace aerate::vhost_user {
namespace {

using virtio::FeatureSet;
using virtio::RingFault;

/// What a poison value is taken for that a driver set before we knew it: not zero, so reported pages keep their
/// content.
constexpr std::uint32_t unknown_poison_value = 0xffff'ffff;

/// What was ballooned and reported is kept to be shown, and is counted anew without. A MiB of it, and a bit for each
/// page, as all else that is known of them.
std::size_t runs_max(const GuestMemory& memory) {
    return 65536 + memory.address_space().value / (8 * sizeof(PageRange));
}

std::size_t queues_asked_for(FeatureSet features) {
    return 2U + std::size_t{features.has(balloon::feature::statistics)} +
           std::size_t{features.has(balloon::feature::free_page_hinting)} +
           std::size_t{features.has(balloon::feature::free_page_reporting)};
}

} // namespace

bool BackEnd::wanted(const Vring& ring) const {
    // Without PROTOCOL_FEATURES rings are enabled from their start.
    return ring.started && (ring.enabled || !negotiated_.has(feature::protocol_features));
}

bool BackEnd::ready() const {
    if (broken_ || !has_memory() || !negotiated_.has(virtio::feature::version_1))
        return false;
    // QEMU 7.2 tells FEATURES_OK and nothing more of devices that are not one of several queue pairs.
    const bool driver_told = (status_ & virtio::device_status::driver) != 0;
    if (driver_told && (status_ & virtio::device_status::driver_ok) == 0)
        return false;
    const auto count =
        static_cast<std::size_t>(std::ranges::count_if(rings_, [this](const Vring& ring) { return wanted(ring); }));
    return count >= queues_asked_for(negotiated_) || (kicked_ && count > 0);
}

void BackEnd::update() {
    CHECK(loop_.owned_here());
    deactivate();
    watch_kicks();
    if (ready())
        activate();
}

void BackEnd::activate() {
    bool anew = true;
    if (!make_queues(anew)) {
        for (Vring& ring : rings_)
            ring.queue.reset();
        return;
    }
    // A driver that begins has its say now, or leaves the value that a reset gives.
    if (anew && !poison_value_)
        poison_value_ = 0;
    const std::uint32_t poison = poison_value_.value_or(unknown_poison_value);
    balloon::Balloon& balloon = *device_->balloon;
    std::vector<virtio::Virtqueue*> queues(rings_.size());
    std::ranges::transform(rings_, queues.begin(), [](const Vring& ring) { return ring.queue.get(); });
    std::array<std::byte, 4> bytes{};
    store_little_endian(bytes, poison);
    balloon.write_config(balloon::config_space::poison_value, bytes, driver_features());
    active_ = true;
    balloon.activate({.features = driver_features(), .queues = queues, .host = this});
    if (!anew)
        resume_state();
    // Kicks may have come before.
    for (std::uint16_t i = 0; i < ring_count(); ++i)
        if (rings_[i].queue)
            kick_again({i});
}

std::expected<BackEnd::RingSetup, RingFault> BackEnd::setup_of(std::uint16_t index) {
    const FeatureSet features = driver_features();
    const auto registers = TRY(registers_of(rings_[index], table(), memory(), features));
    const Inflight* const inflight = inflight_ ? &*inflight_ : nullptr;
    return RingSetup{registers, TRY(position_of(rings_[index], index, registers, features, memory(), inflight))};
}

/// `anew`: every ring begins, so a new driver has it.
std::expected<void, RingFault> BackEnd::make_queues(bool& anew) {
    const FeatureSet features = driver_features();
    for (std::uint16_t i = 0; i < ring_count(); ++i) {
        Vring& ring = rings_[i];
        if (!wanted(ring))
            continue;
        const auto setup = setup_of(i);
        if (!setup) {
            refuse(i, setup.error());
            return std::unexpected(setup.error());
        }
        const auto& [registers, position] = *setup;
        anew = anew && ring.base && position == virtio::QueuePosition{};
        ring.position = position;
        ring.queue = virtio::make_virtqueue(registers, position, features, memory());
        if (inflight_ && i < inflight_->queues()) {
            inflight_->publishing(i, ring.size, position);
            inflight_->published(i);
            ring.queue = recorded(std::move(ring.queue), *inflight_, i);
        }
    }
    for (Vring& ring : rings_)
        if (ring.queue)
            ring.base.reset();
    return {};
}

void BackEnd::resume_state() {
    balloon::BalloonState state = fitted(state_, memory());
    state.target = static_cast<std::uint32_t>(balloon().target().value);
    state.poison_value = poison_value_.value_or(unknown_poison_value);
    static log::GuestLogLimit limit;
    if (auto restored = balloon().restore(state); !restored && limit.allow())
        log::warning("vhost-user: {}", restored.error().message);
    config_changed(); // the target may have been set while there was no listener
}

void BackEnd::deactivate() {
    if (!std::exchange(active_, false))
        return;
    epoch_ = std::make_shared<const int>();
    balloon::Balloon& balloon = *device_->balloon;
    // Returns the statistics buffer: no buffer of the guest's is in use then.
    active_ = true;
    balloon.pause([] {});
    active_ = false;
    state_ = balloon.state(runs_max(memory()));
    balloon.reset();
    balloon.resume();
    for (std::uint16_t i = 0; i < ring_count(); ++i) {
        Vring& ring = rings_[i];
        if (!ring.queue)
            continue;
        ring.position = ring.queue->position();
        ring.queue.reset();
        if (inflight_)
            inflight_->forget(i);
    }
    flush_log();
}

void BackEnd::watch_kicks() {
    for (std::uint16_t i = 0; i < ring_count(); ++i) {
        Vring& ring = rings_[i];
        if (!wanted(ring) || broken_)
            ring.watch.cancel();
        else if (!ring.watch.active() && ring.kick) {
            auto watch = loop_.try_watch(ring.kick->fd(), [this, i] { serve(i); });
            if (!watch)
                return events_.failed(std::move(watch).error().message);
            ring.watch = *std::move(watch);
        }
    }
}

void BackEnd::serve(std::uint16_t index) {
    Vring& ring = rings_[index];
    if (!ring.kick->drain()) {
        ring.watch.cancel();
        return events_.failed(fmt::format("the kicks of ring {} cannot be read", index));
    }
    counters_.kicks.add();
    if (!active_ || !ring.queue) {
        kicked_ = true;
        return update();
    }
    device_->balloon->kicked({index});
    after_turn();
}

void BackEnd::refuse(std::uint16_t index, RingFault fault) {
    broken_ = true;
    counters_.refused_queues.add();
    counters_.add(fault);
    rings_[index].error.signal();
    static log::GuestLogLimit limit;
    if (limit.allow())
        log::warning("vhost-user: ring {} cannot be used: {}", index, virtio::describe(fault));
}

void BackEnd::after_turn() {
    flush_log();
    if (lost())
        events_.failed("the front-end cut a file that it shares, or its filesystem is full");
}

bool BackEnd::lost() const {
    return device_->memory->lost() || (log_ && log_->lost()) || (inflight_ && inflight_->lost());
}

// --- DeviceHost ------------------------------------------------------------------------------------------------------

void BackEnd::interrupt_queue(virtio::QueueIndex index) {
    if (!active_)
        return;
    counters_.queue_interrupts.add();
    rings_[index.value].call.signal();
}

void BackEnd::kick_again(virtio::QueueIndex index) {
    loop_.post([this, index, epoch = std::weak_ptr(epoch_)] {
        if (epoch.expired() || !active_ || broken_)
            return;
        device_->balloon->kicked(index);
        after_turn();
    });
}

void BackEnd::needs_reset(virtio::QueueIndex index, std::string_view what) {
    static log::GuestLogLimit limit;
    if (limit.allow())
        log::warning("vhost-user: ring {}: the guest must reset its balloon: {}", index.value, what);
    counters_.needs_reset.add();
    if (const auto& queue = rings_[index.value].queue)
        if (const auto fault = queue->fault())
            counters_.add(*fault);
    broken_ = true;
    for (Vring& ring : rings_)
        ring.watch.cancel();
    rings_[index.value].error.signal();
    config_changed();
}

} // namespace aerate::vhost_user
