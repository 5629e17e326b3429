#include "virtio/mmio_transport.hpp"

#include "base/check.hpp"
#include "base/endian.hpp"
#include "base/log.hpp"
#include "virtio/mmio_registers.hpp"

#include <algorithm>
#include <utility>

namespace aerate::virtio {
namespace {

constexpr std::uint32_t vendor_id = 0x54524541; // "AERT"

FeatureSet all_offered(const Device& device, MmioOptions options) {
    return device.offered_features()
        .with(feature::version_1)
        .with(feature::ring_packed, options.offer_packed)
        .with(feature::event_index, options.offer_event_index)
        .with(feature::indirect_descriptors, options.offer_indirect)
        .with(feature::access_platform, false);
}

std::uint32_t word_of(FeatureSet features, std::uint32_t select) {
    return select < 2 ? static_cast<std::uint32_t>(features.bits >> (32 * select)) : 0;
}

void set_low(GuestAddress& address, std::uint32_t value) {
    address.value = (address.value & ~0xffff'ffffULL) | value;
}
void set_high(GuestAddress& address, std::uint32_t value) {
    address.value = (address.value & 0xffff'ffffULL) | std::uint64_t{value} << 32;
}

// The steps of initialisation that a driver may take, in their order (virtio 1.2, 3.1.1). Some firmware says
// ACKNOWLEDGE and DRIVER in one write.
struct StatusStep {
    std::uint8_t from;
    std::uint8_t to;
};
constexpr auto known = device_status::acknowledge;
constexpr auto driven = known | device_status::driver;
constexpr auto agreed = driven | device_status::features_ok;
constexpr auto running = agreed | device_status::driver_ok;
constexpr StatusStep status_steps[] = {{0, known}, {0, driven}, {known, driven}, {driven, agreed}, {agreed, running}};

bool is_step(std::uint8_t from, std::uint8_t to) {
    return std::ranges::any_of(status_steps,
                               [=](const StatusStep& step) { return step.from == from && step.to == to; });
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

MmioTransport::~MmioTransport() {
    if (has_status(device_status::driver_ok))
        device_.reset();
}

const EventFd& MmioTransport::kick(QueueIndex index) const {
    CHECK(index.value < queues_.size());
    return queues_[index.value].kick;
}

// --- Register access, on a vCPU's thread ---------------------------------------------------------------------------

void MmioTransport::read(ByteCount offset, std::span<std::byte> into) {
    std::ranges::fill(into, std::byte{0});
    if (offset.value >= mmio_register::config) {
        const std::uint64_t config_offset = offset.value - mmio_register::config;
        if (config_offset <= UINT32_MAX)
            loop_.call([&] { device_.read_config(static_cast<std::uint32_t>(config_offset), into); });
        return;
    }
    if (into.size() != 4 || offset.value % 4 != 0)
        return;
    if (offset.value == mmio_register::interrupt_status)
        return store_little_endian(into, interrupt_status_.load());
    const auto value = loop_.call([&] { return read_register(static_cast<std::uint32_t>(offset.value)); });
    store_little_endian(into, value);
}

void MmioTransport::write(ByteCount offset, std::span<const std::byte> from) {
    if (offset.value >= mmio_register::config) {
        const std::uint64_t config_offset = offset.value - mmio_register::config;
        if (config_offset <= UINT32_MAX)
            loop_.call([&] { device_.write_config(static_cast<std::uint32_t>(config_offset), from, negotiated()); });
        return;
    }
    if (from.size() != 4 || offset.value % 4 != 0)
        return counters_.ignored_writes.add();
    const auto value = load_little_endian<std::uint32_t>(from);
    switch (offset.value) {
    case mmio_register::interrupt_ack:
        interrupt_status_.fetch_and(~value);
        return;
    case mmio_register::queue_notify:
        return ring_doorbell(value);
    default:
        loop_.call([&] { write_register(static_cast<std::uint32_t>(offset.value), value); });
    }
}

// Reached when no ioeventfd took the write. The eventfd is listened to only while the device runs: a kick before
// DRIVER_OK or after a reset does nothing (R21).
void MmioTransport::ring_doorbell(std::uint32_t value) {
    if (value >= queues_.size())
        return counters_.ignored_writes.add();
    queues_[value].kick.signal();
}

// --- Registers, on the loop's thread -------------------------------------------------------------------------------

std::uint32_t MmioTransport::read_register(std::uint32_t offset) const {
    switch (offset) {
    case mmio_register::magic:
        return mmio_magic;
    case mmio_register::version:
        return mmio_version;
    case mmio_register::device_id:
        return static_cast<std::uint32_t>(device_.type());
    case mmio_register::vendor_id:
        return vendor_id;
    case mmio_register::device_features:
        return word_of(offered_, device_features_select_);
    case mmio_register::queue_size_max:
        return selected_max_size();
    case mmio_register::queue_ready:
        return selected() != nullptr && selected()->registers.ready ? 1 : 0;
    case mmio_register::status:
        return status_;
    // No shared memory regions: 4.2.2.1 asks for a length of all ones.
    case mmio_register::shared_memory_length_low:
    case mmio_register::shared_memory_length_high:
    case mmio_register::shared_memory_base_low:
    case mmio_register::shared_memory_base_high:
        return 0xffff'ffff;
    case mmio_register::config_generation:
        return config_generation_;
    default:
        return 0;
    }
}

void MmioTransport::write_register(std::uint32_t offset, std::uint32_t value) {
    switch (offset) {
    case mmio_register::device_features_select:
        device_features_select_ = value;
        return;
    case mmio_register::driver_features_select:
        driver_features_select_ = value;
        return;
    case mmio_register::driver_features:
        return write_driver_features(value);
    case mmio_register::queue_select:
        queue_select_ = value;
        return;
    case mmio_register::queue_ready:
        return write_queue_ready(value);
    case mmio_register::status:
        return write_status(value);
    default:
        return write_queue_register(offset, value);
    }
}

void MmioTransport::write_driver_features(std::uint32_t value) {
    if (has_status(device_status::features_ok))
        return counters_.ignored_writes.add();
    if (driver_features_select_ >= 2) {
        // Bits 64 and up: none is offered, and a driver that knows them writes zeros.
        if (value != 0)
            counters_.ignored_writes.add();
        return;
    }
    const unsigned shift = 32 * driver_features_select_;
    accepted_.bits = (accepted_.bits & ~(0xffff'ffffULL << shift)) | std::uint64_t{value} << shift;
}

// A queue's registers are frozen once it is ready: what was validated is what is used (R12).
void MmioTransport::write_queue_register(std::uint32_t offset, std::uint32_t value) {
    Queue* const queue = selected();
    if (queue == nullptr || queue->registers.ready || has_status(device_status::driver_ok))
        return counters_.ignored_writes.add();
    QueueRegisters& registers = queue->registers;
    switch (offset) {
    case mmio_register::queue_size:
        // What does not fit is kept as a size that is never valid.
        registers.size = value <= UINT16_MAX ? static_cast<std::uint16_t>(value) : std::uint16_t{0};
        return;
    case mmio_register::queue_descriptors_low:
        return set_low(registers.descriptors, value);
    case mmio_register::queue_descriptors_high:
        return set_high(registers.descriptors, value);
    case mmio_register::queue_driver_low:
        return set_low(registers.driver, value);
    case mmio_register::queue_driver_high:
        return set_high(registers.driver, value);
    case mmio_register::queue_device_low:
        return set_low(registers.device, value);
    case mmio_register::queue_device_high:
        return set_high(registers.device, value);
    default:
        return counters_.ignored_writes.add();
    }
}

void MmioTransport::write_queue_ready(std::uint32_t value) {
    Queue* const queue = selected();
    // Before FEATURES_OK it is not known which kind of ring this is; after DRIVER_OK only a reset stops a queue.
    if (queue == nullptr || value > 1 || !has_status(device_status::features_ok) ||
        has_status(device_status::driver_ok))
        return counters_.ignored_writes.add();
    if (value == 1) {
        if (const auto fault = check_registers(queue->registers, selected_max_size(), accepted_, memory_)) {
            counters_.refused_queues.add();
            counters_.add(*fault);
            return;
        }
    }
    queue->registers.ready = value == 1;
}

void MmioTransport::write_status(std::uint32_t value) {
    if (value == 0)
        return reset();
    // NEEDS_RESET is the device's bit: a driver that adds a bit to what it read may write it back.
    const std::uint8_t ours = status_ & device_status::needs_reset;
    const auto from = static_cast<std::uint8_t>(status_ & ~device_status::needs_reset);
    const std::uint32_t wanted = value & ~std::uint32_t{device_status::needs_reset};
    if (wanted == from)
        return;
    if (wanted > UINT8_MAX || (from & device_status::failed) != 0)
        return counters_.ignored_writes.add();
    auto to = static_cast<std::uint8_t>(wanted);
    // The driver may give up at any point (3.1.1).
    if (to == (from | device_status::failed)) {
        status_ |= device_status::failed;
        return ignore_kicks();
    }
    if (!is_step(from, to))
        return counters_.ignored_writes.add();
    if (to == agreed && !features_acceptable())
        return counters_.refused_features.add();
    status_ = to | ours;
    if (to == running)
        activate();
}

bool MmioTransport::features_acceptable() const {
    return accepted_.within(offered_) && accepted_.has(feature::version_1);
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
    if (paused_)
        device_.pause([] {});
    else
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
        if (queues_[i].ring)
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

void MmioTransport::pause(EventLoop::Callback done) {
    paused_ = true;
    ignore_kicks();
    if (has_status(device_status::driver_ok))
        device_.pause(std::move(done));
    else
        done();
}

void MmioTransport::resume() {
    paused_ = false;
    if (!has_status(device_status::driver_ok))
        return;
    device_.resume();
    if (!live())
        return;
    watch_kicks();
    for (Queue& queue : queues_)
        if (queue.ring)
            queue.kick.signal();
}

// --- Saved state ---------------------------------------------------------------------------------------------------

TransportState MmioTransport::save() const {
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
    CHECK(paused_ && status_ == 0);
    const auto base = static_cast<std::uint8_t>(state.status & ~(device_status::needs_reset | device_status::failed));
    const bool possible = base == 0 || std::ranges::any_of(status_steps, [base](auto step) { return step.to == base; });
    if (!possible)
        return fail("the saved device status {:#x} is none that a driver can reach", state.status);
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
        if (!epoch.expired() && live() && !paused_)
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

bool MmioTransport::live() const {
    return has_status(device_status::driver_ok) &&
           (status_ & (device_status::needs_reset | device_status::failed)) == 0;
}

MmioTransport::Queue* MmioTransport::selected() {
    return queue_select_ < queues_.size() ? &queues_[queue_select_] : nullptr;
}

const MmioTransport::Queue* MmioTransport::selected() const {
    return queue_select_ < queues_.size() ? &queues_[queue_select_] : nullptr;
}

std::uint16_t MmioTransport::selected_max_size() const {
    return queue_select_ < queues_.size() ? device_.queue_sizes()[queue_select_] : std::uint16_t{0};
}

FeatureSet MmioTransport::negotiated() const {
    return has_status(device_status::features_ok) ? accepted_ : FeatureSet{};
}

} // namespace aerate::virtio
