#include "machine/virtio_slots.hpp"

#include <utility>

namespace aerate {
namespace {

using Labels = std::vector<std::pair<std::string, std::string>>;

void add(control::VmStatus& status, std::string name, std::string help, std::uint64_t value, Labels labels) {
    status.counters.push_back({std::move(name), std::move(help), value, std::move(labels)});
}

} // namespace

Result<VirtioSlot*> add_slot(VirtioSlots& slots, MadeDevice made, GuestMemory& memory) {
    VirtioSlot& slot = slots.emplace_back(VirtioSlot{made.loop, TRY(EventFd::create()), std::move(made.device), {}});
    slot.transport = TRY(virtio::MmioTransport::create(*slot.device, memory, *slot.loop, slot.interrupt, {}));
    return &slot;
}

std::vector<state::SavedDevice> save(VirtioSlots& slots) {
    std::vector<state::SavedDevice> saved;
    for (VirtioSlot& slot : slots)
        saved.push_back(slot.loop->call(
            [&slot] { return state::SavedDevice{slot.name(), slot.transport->save(), slot.device->save()}; }));
    return saved;
}

Result<> check_fits(const VirtioSlots& slots, const std::vector<state::SavedDevice>& saved) {
    if (saved.size() != slots.size())
        return fail("the saved guest has {} virtio devices, its configuration says {}", saved.size(), slots.size());
    for (std::size_t i = 0; i < slots.size(); ++i)
        if (saved[i].name != slots[i].name())
            return fail("the saved guest has the device {} where its configuration has {}", saved[i].name,
                        slots[i].name());
    return {};
}

Result<> restore(VirtioSlots& slots, const std::vector<state::SavedDevice>& saved) {
    for (VirtioSlot& slot : slots)
        slot.transport->pause([] {});
    for (std::size_t i = 0; i < slots.size(); ++i) {
        auto restored = slots[i].transport->restore(saved[i].transport);
        if (restored)
            restored = slots[i].device->restore(saved[i].device);
        if (!restored)
            return fail("device {}: {}", slots[i].name(), restored.error().message);
    }
    for (VirtioSlot& slot : slots)
        slot.transport->repeat_interrupt();
    return {};
}

void add_virtio_counters(control::VmStatus& status, const VirtioSlots& slots, const EventLoop& loop) {
    for (const VirtioSlot& slot : slots) {
        if (slot.loop != &loop)
            continue;
        add_transport(status, slot.name(), slot.transport->counters());
        add_metrics(status, slot.device->metrics());
    }
}

void add_metrics(control::VmStatus& status, std::vector<virtio::Metric> metrics) {
    for (virtio::Metric& metric : metrics)
        add(status, std::move(metric.name), std::move(metric.help), metric.value, std::move(metric.labels));
}

void add_transport(control::VmStatus& status, const std::string& name, const virtio::TransportCounters& counters) {
    const Labels device{{"device", name}};
    add(status, "virtio_kicks", "Queue notifications served", counters.kicks, device);
    add(status, "virtio_interrupts", "Interrupts for used buffers", counters.queue_interrupts, device);
    add(status, "virtio_config_interrupts", "Interrupts for changes of the configuration", counters.config_interrupts,
        device);
    add(status, "virtio_resets", "Device resets by the guest", counters.resets, device);
    add(status, "guest_ignored_register_writes", "Register writes that broke the virtio rules and were ignored",
        counters.ignored_writes, device);
    add(status, "guest_refused_queues", "Queues whose registers were invalid", counters.refused_queues, device);
    add(status, "guest_refused_features", "Feature sets that were not a valid choice", counters.refused_features,
        device);
    for (std::size_t fault = 0; fault < counters.ring_faults.size(); ++fault)
        if (counters.ring_faults[fault] != 0)
            add(status, "guest_ring_faults", "Queues whose structure the guest broke: the device waits for its reset",
                counters.ring_faults[fault],
                {{"device", name}, {"fault", std::string(virtio::describe(static_cast<virtio::RingFault>(fault)))}});
}

} // namespace aerate
