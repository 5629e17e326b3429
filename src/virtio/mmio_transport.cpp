#include "virtio/mmio_transport.hpp"

#include "base/check.hpp"
#include "base/endian.hpp"
#include "base/log.hpp"
#include "virtio/mmio_registers.hpp"
#include "virtio/status_step.hpp"

#include <algorithm>
#include <utility>

namespace aerate::virtio {
namespace {

FeatureSet all_offered(const Device& device, MmioOptions options) {
    return device.offered_features()
        .with(feature::version_1)
        .with(feature::ring_packed, options.offer_packed)
        .with(feature::event_index, options.offer_event_index)
        .with(feature::indirect_descriptors, options.offer_indirect)
        .with(feature::access_platform, false);
}

} // namespace

Result<std::unique_ptr<MmioTransport>> MmioTransport::create(Device& device, GuestMemory& memory, EventLoop& loop,
                                                             const EventFd& interrupt, MmioOptions options) {
    std::vector<EventFd> kicks;
    for (std::size_t i = 0; i < device.queue_sizes().size(); ++i)
        kicks.push_back(TRY(EventFd::create()));
    return std::unique_ptr<MmioTransport>(
        new MmioTransport(device, memory, loop, interrupt, options, std::move(kicks)));
}

MmioTransport::MmioTransport(Device& device, GuestMemory& memory, EventLoop& loop, const EventFd& interrupt,
                             MmioOptions options, std::vector<EventFd> kicks)
    : device_(device)
    , memory_(memory)
    , loop_(loop)
    , interrupt_(interrupt)
    , offered_(all_offered(device, options))
    , rings_(kicks.size()) {
    for (EventFd& kick : kicks)
        queues_.emplace_back(std::move(kick));
    for (std::size_t i = 0; i < queues_.size(); ++i)
        queues_[i].registers.size = device.queue_sizes()[i];
}

const EventFd& MmioTransport::kick(QueueIndex index) const {
    CHECK(index.value < queues_.size());
    return queues_[index.value].kick;
}

MmioTransport::~MmioTransport() {
    if (has_status(device_status::driver_ok))
        device_.reset();
}

// --- Life of the device --------------------------------------------------------------------------------------------

void MmioTransport::activate(std::span<const QueuePosition> positions) {
    for (std::size_t i = 0; i < queues_.size(); ++i) {
        Queue& queue = queues_[i];
        if (queue.registers.ready)
            queue.ring = make_virtqueue(queue.registers, i < positions.size() ? positions[i] : QueuePosition{},
                                        accepted_, memory_);
        rings_[i] = queue.ring.get();
    }
    device_.activate({.features = accepted_, .queues = rings_, .host = this});
    watch_kicks();
}

void MmioTransport::reset() {
    epoch_ = std::make_shared<const int>();
    ignore_kicks();
    // Always, since config space may have been written before DRIVER_OK.
    device_.reset();
    status_ = 0;
    accepted_ = {};
    device_features_select_ = driver_features_select_ = queue_select_ = 0;
    interrupt_status_ = 0;
    for (std::size_t i = 0; i < queues_.size(); ++i) {
        queues_[i].ring.reset();
        queues_[i].registers = {.size = device_.queue_sizes()[i], .descriptors = {}, .driver = {}, .device = {}};
        rings_[i] = nullptr;
    }
    counters_.resets.add();
}

void MmioTransport::watch_kicks() {
    for (std::uint16_t i = 0; i < queue_count(); ++i)
        if (queues_[i].ring && !queues_[i].watch.active())
            queues_[i].watch = loop_.watch(queues_[i].kick.fd(), [this, i] { serve({i}); });
}

void MmioTransport::ignore_kicks() {
    for (Queue& queue : queues_)
        queue.watch.cancel();
}

// Many kicks of a guest are one wake-up here: the eventfd adds them up (R21).
void MmioTransport::serve(QueueIndex index) {
    queues_[index.value].kick.drain();
    counters_.kicks.add();
    device_.kicked(index);
}

// Only the device knows whether it is paused: a driver that resets it and starts it anew ends no pause. Its kicks are
// heard all the while, and dropped by the device: a host that has no watch to give would else leave it deaf after each
// pause.
void MmioTransport::pause(EventLoop::Callback done) {
    CHECK(loop_.owned_here());
    device_.pause(std::move(done));
}

void MmioTransport::resume() {
    CHECK(loop_.owned_here());
    if (!device_.paused())
        return;
    device_.resume();
}

// --- Saved state ---------------------------------------------------------------------------------------------------

TransportState MmioTransport::save() const {
    CHECK(loop_.owned_here());
    TransportState state{.status = status_,
                         .interrupt_status = interrupt_status_.load(),
                         .config_generation = config_generation_,
                         .device_features_select = device_features_select_,
                         .driver_features_select = driver_features_select_,
                         .queue_select = queue_select_,
                         .accepted = accepted_,
                         .queues = {}};
    for (const Queue& queue : queues_)
        state.queues.push_back({queue.registers, queue.ring ? queue.ring->position() : QueuePosition{}});
    return state;
}

Result<> MmioTransport::restore(const TransportState& state) {
    CHECK(loop_.owned_here());
    CHECK(device_.paused() && status_ == 0);
    const auto base = static_cast<std::uint8_t>(state.status & ~(device_status::needs_reset | device_status::failed));
    if (!status_step::reaches(base))
        return fail("the saved device status {:#x} is not one that a driver can reach", state.status);
    if (state.queues.size() != queues_.size())
        return fail("the saved device has {} queues, this one has {}", state.queues.size(), queues_.size());
    const bool features_agreed = (base & device_status::features_ok) != 0;
    if (features_agreed && !(state.accepted.within(offered_) && state.accepted.has(feature::version_1)))
        return fail("the saved driver accepted features {:#x}, of which this device does not offer {:#x}",
                    state.accepted.bits, state.accepted.bits & ~offered_.bits);
    const bool active = (base & device_status::driver_ok) != 0;
    // One whose ring the guest broke has no position to go on from, and waits for a reset.
    const bool serves = active && base == state.status;
    std::vector<QueuePosition> positions;
    for (std::size_t i = 0; i < queues_.size(); ++i) {
        const auto& [registers, position] = state.queues[i];
        positions.push_back(position);
        if (!registers.ready)
            continue;
        auto fault = features_agreed ? check_registers(registers, device_.queue_sizes()[i], state.accepted, memory_)
                                     : RingFault::bad_registers;
        if (!fault && serves)
            fault = check_position(registers, position, state.accepted);
        if (fault)
            return fail("saved queue {}: {}", i, describe(*fault));
    }

    status_ = state.status;
    interrupt_status_ = state.interrupt_status;
    config_generation_ = state.config_generation;
    device_features_select_ = state.device_features_select;
    driver_features_select_ = state.driver_features_select;
    queue_select_ = state.queue_select;
    accepted_ = state.accepted;
    for (std::size_t i = 0; i < queues_.size(); ++i)
        queues_[i].registers = state.queues[i].registers;
    if (serves)
        activate(positions);
    return {};
}

void MmioTransport::repeat_interrupt() {
    CHECK(loop_.owned_here());
    if (interrupt_status_.load() != 0)
        interrupt_.signal();
}

// --- DeviceHost ----------------------------------------------------------------------------------------------------

void MmioTransport::interrupt_queue(QueueIndex) {
    if (!live())
        return;
    counters_.queue_interrupts.add();
    raise(interrupt_reason::used_buffer);
}

void MmioTransport::config_changed() {
    ++config_generation_;
    // 2.3: a configuration change notification before DRIVER_OK would find no driver.
    if (!has_status(device_status::driver_ok))
        return;
    counters_.config_interrupts.add();
    raise(interrupt_reason::config_change);
}

void MmioTransport::raise(std::uint32_t reason) {
    interrupt_status_.fetch_or(reason);
    interrupt_.signal();
}

void MmioTransport::kick_again(QueueIndex index) {
    loop_.post([this, index, epoch = std::weak_ptr(epoch_)] {
        if (!epoch.expired() && live())
            device_.kicked(index);
    });
}

void MmioTransport::needs_reset(QueueIndex index, std::string_view what) {
    if (!live())
        return;
    static log::GuestLogLimit limit;
    if (limit.allow())
        log::warning("virtio device {}, queue {}: the guest must reset it: {}",
                     static_cast<std::uint32_t>(device_.type()), index.value, what);
    counters_.needs_reset.add();
    if (index.value < rings_.size() && rings_[index.value] != nullptr)
        if (const auto fault = rings_[index.value]->fault())
            counters_.add(*fault);
    status_ |= device_status::needs_reset;
    ignore_kicks();
    // 2.1.2: the driver is told by a configuration change notification.
    config_changed();
}

// --- Small questions -----------------------------------------------------------------------------------------------

bool MmioTransport::has_driver() const {
    CHECK(loop_.owned_here());
    return has_status(device_status::driver_ok);
}

bool MmioTransport::live() const {
    return has_status(device_status::driver_ok) &&
           (status_ & (device_status::needs_reset | device_status::failed)) == 0;
}

FeatureSet MmioTransport::negotiated() const {
    return has_status(device_status::features_ok) ? accepted_ : FeatureSet{};
}

} // namespace aerate::virtio
