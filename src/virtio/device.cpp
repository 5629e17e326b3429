#include "virtio/device.hpp"

#include <algorithm>

namespace aerate::virtio {

void Device::read_config(std::uint32_t, std::span<std::byte> into) {
    std::ranges::fill(into, std::byte{0});
}

void Device::activate(const Activation& activation) {
    host_ = activation.host;
    queues_.assign(activation.queues.begin(), activation.queues.end());
    broken_ = false;
    on_activate(activation.features);
}

void Device::kicked(QueueIndex index) {
    Virtqueue* const queue = virtqueue(index);
    if (queue == nullptr || paused_ || broken_ || waits(index))
        return;
    queue->want_kicks(false);
    const auto more = serve(index, *queue);
    const bool waiting = waits(index);
    if (!waiting)
        queue->want_kicks(true);
    publish(index);
    if (!more) {
        broken_ = true;
        host_->needs_reset(index, describe(more.error()));
    } else if (!waiting && !leaves_buffers(index) && (*more || queue->available() > 0)) {
        // Also for a chain that slipped in before the driver saw that kicks are wanted again.
        host_->kick_again(index);
    }
}

void Device::reset() {
    host_ = nullptr;
    queues_.clear();
    broken_ = false;
    on_reset();
    work_finished();
}

void Device::pause(EventLoop::Callback quiesced) {
    paused_ = true;
    quiesced_ = std::move(quiesced);
    on_pause();
    work_finished();
}

void Device::work_finished() {
    if (!quiesced_ || !idle())
        return;
    for (std::size_t i = 0; i < queues_.size(); ++i)
        publish({static_cast<std::uint16_t>(i)});
    std::exchange(quiesced_, nullptr)();
}

void Device::resume() {
    if (!std::exchange(paused_, false))
        return;
    quiesced_ = nullptr;
    on_resume();
    for (std::size_t i = 0; i < queues_.size(); ++i)
        if (queues_[i] != nullptr)
            host_->kick_again({static_cast<std::uint16_t>(i)});
}

Result<> Device::restore(const DeviceState& state) {
    if (state.version != 0)
        return fail("it has a state of version {}, and this monitor knows none: use the monitor that saved it, or a "
                    "later one",
                    state.version);
    return {};
}

Virtqueue* Device::virtqueue(QueueIndex index) const {
    return index.value < queues_.size() ? queues_[index.value] : nullptr;
}

void Device::forget_queue(QueueIndex index) {
    if (index.value < queues_.size())
        queues_[index.value] = nullptr;
}

void Device::publish(QueueIndex index) {
    Virtqueue* const queue = virtqueue(index);
    if (queue != nullptr && queue->publish())
        host_->interrupt_queue(index);
}

void Device::config_changed() {
    if (host_ != nullptr)
        host_->config_changed();
}

} // namespace aerate::virtio
