// What the front-end says of single rings.
#include "vhost_user/back_end.hpp"
#include "virtio/ring_layout.hpp"

#include <utility>

namespace aerate::vhost_user {

Result<Vring*> BackEnd::ring(std::uint32_t index) {
    if (index >= rings_.size())
        return fail("there is no ring {}: the balloon has {}", index, rings_.size());
    return &rings_[index];
}

Result<> BackEnd::set_ring_size(std::uint32_t index, std::uint32_t size) {
    Vring& ring = *TRY(this->ring(index));
    if (ring.queue && size != ring.size)
        return fail("ring {} is in use: its size stays {}", index, ring.size);
    if (size == 0 || size > virtio::max_queue_size || (!packed() && (size & (size - 1)) != 0))
        return fail("ring {} cannot have {} descriptors", index, size);
    ring.size = static_cast<std::uint16_t>(size);
    return {};
}

Result<> BackEnd::set_ring_addresses(std::uint32_t index, const Vring::Addresses& addresses,
                                     std::optional<GuestAddress> log) {
    Vring& ring = *TRY(this->ring(index));
    if (!has_memory())
        return fail("ring {} has addresses before there is any memory", index);
    if (ring.queue && ring.addresses != addresses)
        return fail("ring {} is in use: it stays where it is", index);
    const auto used = table().translate(addresses.used);
    if (!table().translate(addresses.descriptors) || !table().translate(addresses.available) || !used)
        return fail("ring {} is not in the guest's memory", index);
    // All that the device writes is logged by where it is; a log address that says otherwise is nonsense (V9).
    if (log && log != used)
        return fail("ring {} is to be logged at {:#x}, and is at {:#x}", index, log->value, used->value);
    ring.addresses = addresses;
    return {};
}

Result<> BackEnd::set_ring_base(std::uint32_t index, std::uint32_t base) {
    Vring& ring = *TRY(this->ring(index));
    if (ring.queue)
        return fail("ring {} is in use: stop it before it is moved", index);
    if (!packed() && base > UINT16_MAX)
        return fail("ring {} cannot begin at {}", index, base);
    ring.base = base;
    return {};
}

Result<> BackEnd::start_ring(std::uint32_t index, Kick kick) {
    Vring& ring = *TRY(this->ring(index));
    if (!ring.queue) {
        if (!has_memory() || ring.size == 0 || !ring.addresses)
            return fail("ring {} is started before its memory, size and addresses are known", index);
        if (const auto setup = setup_of(static_cast<std::uint16_t>(index)); !setup) {
            counters_.refused_queues.add();
            counters_.add(setup.error());
            return fail("ring {}: {}", index, virtio::describe(setup.error()));
        }
    }
    ring.watch.cancel();
    ring.kick = std::move(kick);
    ring.started = true;
    update();
    return {};
}

Result<std::uint32_t> BackEnd::stop_ring(std::uint32_t index) {
    Vring& ring = *TRY(this->ring(index));
    ring.started = false;
    ring.watch.cancel();
    rings_stopped();
    update();
    flush_log();
    return ring.base ? *ring.base : encoded(ring.position, driver_features());
}

Result<> BackEnd::enable_ring(std::uint32_t index, bool enable) {
    Vring& ring = *TRY(this->ring(index));
    if (ring.enabled == enable)
        return {};
    ring.enabled = enable;
    if (!enable)
        rings_stopped();
    update();
    return {};
}

Result<> BackEnd::set_call(std::uint32_t index, Notifier call) {
    Vring& ring = *TRY(this->ring(index));
    ring.call = std::move(call);
    // What the old one was told may not have been heard.
    if (ring.queue)
        ring.call.signal();
    return {};
}

Result<> BackEnd::set_error(std::uint32_t index, Notifier error) {
    TRY(ring(index))->error = std::move(error);
    return {};
}

/// Forgets whatever was broken, kicked or written, along with the driver that did it.
void BackEnd::rings_stopped() {
    broken_ = kicked_ = poison_fixed_ = false;
}

} // namespace aerate::vhost_user
