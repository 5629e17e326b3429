#include "vhost_user/back_end.hpp"

#include "balloon/config_space.hpp"
#include "balloon/features.hpp"
#include "base/endian.hpp"
#include "base/log.hpp"
#include "vhost_user/message_socket.hpp"
#include "vhost_user/wire.hpp"
#include "virtio/mmio_registers.hpp"
#include "virtio/ring_layout.hpp"

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

Result<GuestMemory> stand_in() {
    return GuestMemory::create({.regions = {{{0}, {2U << 20}}}, .backing = Backing::anonymous});
}

/// No INDIRECT_DESC: the balloon driver of Linux clears the bit, and User Mode Linux then negotiates twice.
FeatureSet offer(const balloon::Balloon& balloon, const BackEndOptions& options) {
    return balloon.offered_features()
        .with(virtio::feature::version_1)
        .with(virtio::feature::event_index)
        .with(virtio::feature::ring_packed, options.offer_packed)
        .with(feature::log_all)
        .with(feature::protocol_features);
}

FeatureSet without_vhost_bits(FeatureSet features) {
    return features.with(feature::log_all, false).with(feature::protocol_features, false);
}

std::size_t queues_asked_for(FeatureSet features) {
    return 2U + std::size_t{features.has(balloon::feature::statistics)} +
           std::size_t{features.has(balloon::feature::free_page_hinting)} +
           std::size_t{features.has(balloon::feature::free_page_reporting)};
}

/// Without what is not this guest's RAM any more.
balloon::BalloonState fitted(balloon::BalloonState state, const GuestMemory& memory) {
    const PageCount most = whole_pages_of(memory.size());
    state.target = static_cast<std::uint32_t>(std::min<std::uint64_t>(state.target, most.value));
    const auto is_gone = [&](const PageRange& run) {
        return !memory.contains(address_of(run.first), bytes_of(run.count));
    };
    std::erase_if(state.ballooned, is_gone);
    std::erase_if(state.reported, is_gone);
    return state;
}

} // namespace

BackEnd::Device::Device(MemoryTable t, GuestMemory m, const balloon::BalloonConfig& config, EventLoop& loop)
    : table(std::move(t))
    , memory(std::move(m))
    , counted_hints(memory.address_space())
    , balloon(config, memory, loop) {}

Result<std::unique_ptr<BackEnd>> BackEnd::create(EventLoop& loop, const BackEndOptions& options, Events events,
                                                 std::optional<KeptState> kept) {
    auto device = std::make_unique<Device>(MemoryTable{}, TRY(stand_in()), options.balloon, loop);
    return std::unique_ptr<BackEnd>(new BackEnd(loop, options, std::move(events), std::move(device), std::move(kept)));
}

BackEnd::BackEnd(EventLoop& loop, const BackEndOptions& options, Events events, std::unique_ptr<Device> device,
                 std::optional<KeptState> kept)
    : loop_(loop)
    , options_(options)
    , events_(std::move(events))
    , device_(std::move(device))
    , memory_part_(options.memory_budget)
    , offered_(offer(device_->balloon, options))
    , rings_(device_->balloon.queue_sizes().size()) {
    if (kept) {
        state_ = std::move(kept->balloon);
        poison_value_ = kept->poison_value;
    }
    (void)device_->balloon.restore(
        fitted({.target = state_.target, .last_command = state_.last_command, .ballooned = {}, .reported = {}},
               device_->memory));
}

BackEnd::~BackEnd() {
    deactivate();
    for (Vring& ring : rings_)
        ring.watch.cancel();
}

void BackEnd::set_statistics_interval(std::chrono::seconds interval) {
    options_.statistics_interval = interval;
    device_->balloon.statistics().set_interval(interval);
}

balloon::Counters BackEnd::counters() const {
    balloon::Counters sum = earlier_;
    sum += device_->balloon.counters();
    return sum;
}

KeptState BackEnd::keep() const {
    KeptState kept{active_ ? device_->balloon.save() : state_, poison_value_};
    if (has_memory())
        kept.balloon.target = static_cast<std::uint32_t>(device_->balloon.target().value);
    return kept;
}

// --- Features and status ---------------------------------------------------------------------------------------------

void BackEnd::features_asked() {
    if (active_ && !negotiated_.has(feature::protocol_features))
        stop_all_rings();
}

Result<> BackEnd::set_features(FeatureSet features) {
    if (!features.within(offered_) || !features.has(virtio::feature::version_1)) {
        counters_.refused_features.add();
        return fail("features {:#x} were not offered like that: {:#x} were, and VERSION_1 is needed", features.bits,
                    offered_.bits);
    }
    const FeatureSet changed{features.bits ^ negotiated_.bits};
    if (without_vhost_bits(changed).bits != 0 || !features.has(feature::protocol_features) ||
        changed.has(feature::protocol_features))
        stop_all_rings();
    negotiated_ = features;
    update_logging();
    return {};
}

void BackEnd::set_status(std::uint8_t status) {
    status_ = status;
    if (status == 0) {
        counters_.resets.add();
        stop_all_rings();
    } else if (!active_) {
        update();
    }
}

std::uint8_t BackEnd::status() const {
    return broken_ ? status_ | virtio::device_status::needs_reset : status_;
}

void BackEnd::reset_device() {
    counters_.resets.add();
    for (Vring& ring : rings_)
        ring.enabled = false;
    stop_all_rings();
    state_ = {.target = state_.target, .last_command = state_.last_command, .ballooned = {}, .reported = {}};
    status_ = 0;
}

void BackEnd::stop_all_rings() {
    for (Vring& ring : rings_) {
        ring.started = false;
        ring.watch.cancel();
    }
    rings_stopped();
    update();
}

// --- Memory ----------------------------------------------------------------------------------------------------------

Result<> BackEnd::set_memory(MemoryTable table) {
    const ByteCount before = memory_part_.size();
    const ByteCount wanted = table.address_space();
    TRY(memory_part_.grow_to(wanted));
    auto mapped = map(table);
    if (!mapped) {
        memory_part_.shrink_to(before);
        return std::unexpected(std::move(mapped).error());
    }
    GuestMemory memory = *std::move(mapped);
    deactivate();
    flush_log();
    logging_ = false;
    // What was written to the config space since the device came to rest, and the target, which somebody may have set
    // before there was memory.
    const balloon::BalloonState last = device_->balloon.save();
    const std::uint32_t target = has_memory() ? last.target : std::max(last.target, state_.target);
    earlier_ += device_->balloon.counters();
    events_.replacing();
    device_ = std::make_unique<Device>(std::move(table), std::move(memory), options_.balloon, loop_);
    TRY(device_->balloon.restore(fitted({.target = target,
                                         .actual = last.actual,
                                         .poison_value = last.poison_value,
                                         .last_command = last.last_command,
                                         .ballooned = {},
                                         .reported = {}},
                                        device_->memory)));
    device_->balloon.statistics().set_interval(options_.statistics_interval);
    memory_part_.shrink_to(wanted);
    update_logging();
    update();
    return {};
}

Result<GuestMemory> BackEnd::map(const MemoryTable& table) const {
    GuestMemory memory = table.empty() ? TRY(stand_in()) : TRY(table.share());
    if (log_ && log_->pages() < memory.address_space())
        return fail("the dirty log has bits for {} pages, the guest has {}", log_->pages().value,
                    memory.address_space().value);
    return memory;
}

// --- Rings -----------------------------------------------------------------------------------------------------------

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
        if (const auto place = place_of(static_cast<std::uint16_t>(index)); !place) {
            counters_.refused_queues.add();
            counters_.add(place.error());
            return fail("ring {}: {}", index, virtio::describe(place.error()));
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
    return ring.base ? *ring.base : encoded(ring.position, without_vhost_bits(negotiated_));
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

/// Whatever was broken, kicked or written is over with the driver that did it.
void BackEnd::rings_stopped() {
    broken_ = kicked_ = poison_fixed_ = false;
}

// --- Between rest and activity ---------------------------------------------------------------------------------------

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
    balloon::Balloon& balloon = device_->balloon;
    std::vector<virtio::Virtqueue*> queues(rings_.size());
    std::ranges::transform(rings_, queues.begin(), [](const Vring& ring) { return ring.queue.get(); });
    std::array<std::byte, 4> bytes{};
    store_little_endian(bytes, poison);
    balloon.write_config(balloon::config_space::poison_value, bytes, without_vhost_bits(negotiated_));
    active_ = true;
    balloon.activate({.features = without_vhost_bits(negotiated_), .queues = queues, .host = this});
    if (!anew)
        resume_state();
    // Kicks may have come before.
    for (std::uint16_t i = 0; i < ring_count(); ++i)
        if (rings_[i].queue)
            kick_again({i});
}

std::expected<BackEnd::Place, RingFault> BackEnd::place_of(std::uint16_t index) {
    const FeatureSet features = without_vhost_bits(negotiated_);
    const auto registers = TRY(registers_of(rings_[index], table(), memory(), features));
    const Inflight* const inflight = inflight_ ? &*inflight_ : nullptr;
    return Place{registers, TRY(position_of(rings_[index], index, registers, features, memory(), inflight))};
}

/// `anew`: every ring begins, so a new driver has it.
std::expected<void, RingFault> BackEnd::make_queues(bool& anew) {
    const FeatureSet features = without_vhost_bits(negotiated_);
    for (std::uint16_t i = 0; i < ring_count(); ++i) {
        Vring& ring = rings_[i];
        if (!wanted(ring))
            continue;
        const auto place = place_of(i);
        if (!place) {
            refuse(i, place.error());
            return std::unexpected(place.error());
        }
        const auto& [registers, position] = *place;
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
    if (auto restored = balloon().restore(state); !restored)
        log::warning("vhost-user: {}", restored.error().message);
}

void BackEnd::deactivate() {
    if (!std::exchange(active_, false))
        return;
    epoch_ = std::make_shared<const int>();
    balloon::Balloon& balloon = device_->balloon;
    // Returns the statistics buffer: no buffer of the guest's is in use then.
    active_ = true;
    balloon.pause([] {});
    active_ = false;
    state_ = balloon.save();
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
    device_->balloon.kicked({index});
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
    return device_->memory.lost() || (log_ && log_->lost()) || (inflight_ && inflight_->lost());
}

// --- Config space ----------------------------------------------------------------------------------------------------

void BackEnd::read_config(std::uint32_t offset, std::span<std::byte> into) {
    balloon().read_config(offset, into);
}

void BackEnd::write_config(std::uint32_t offset, std::span<const std::byte> from) {
    constexpr std::uint32_t poison = balloon::config_space::poison_value;
    FeatureSet features = without_vhost_bits(negotiated_);
    const bool of_poison = offset < poison + 4 && std::uint64_t{offset} + from.size() > poison;
    // Linux sets up its rings before it writes the value, so without a status the device is active by then. It may be
    // written once; what the driver does with pages depends on it, and so do we.
    const bool driver_ok = (status_ & virtio::device_status::driver_ok) != 0;
    const bool early =
        of_poison && features.has(balloon::feature::page_poison) && !poison_fixed_ && active_ && !driver_ok;
    if (early)
        deactivate();
    // QEMU passes writes on at once and the features only with DRIVER_OK: what they will be is not known yet.
    if (!active_)
        features = features.with(balloon::feature::page_poison);
    balloon().write_config(offset, from, features);
    if (of_poison && !active_) {
        poison_value_ = balloon().save().poison_value;
        poison_fixed_ = true;
    }
    if (early)
        update();
}

void BackEnd::config_changed() {
    if (!active_ || !config_channel_.valid())
        return;
    counters_.config_interrupts.add();
    // A socket that is full has such a message in it already, and the front-end reads the config space after it.
    (void)send_message(config_channel_.get(),
                       {.request = static_cast<std::uint32_t>(BackEndRequestCode::config_change),
                        .flags = header_flag::version,
                        .size = 0},
                       {});
}

// --- Dirty log and in-flight region ----------------------------------------------------------------------------------

Result<> BackEnd::set_log(SharedLog log) {
    if (has_memory() && log.pages() < memory().address_space())
        return fail("the dirty log has bits for {} pages, the guest has {}", log.pages().value,
                    memory().address_space().value);
    flush_log();
    log_.reset();
    log_.emplace(std::move(log));
    flush_log();
    return {};
}

/// From the moment that logging is asked for, even if the log itself comes a message later.
void BackEnd::update_logging() {
    const bool wanted = negotiated_.has(feature::log_all);
    if (wanted == std::exchange(logging_, wanted))
        return;
    if (!wanted) {
        flush_log();
        // Of a migration that failed, or is over: it need not cover memory that comes later.
        log_.reset();
        return memory().write_log().stop();
    }
    logged_ = PageBitmap(memory().address_space());
    memory().write_log().start();
}

void BackEnd::flush_log() {
    if (!logging_ || !log_)
        return;
    memory().write_log().take(logged_);
    if (logged_.next_run({0}).count == PageCount{})
        return;
    log_->mark(logged_);
    logged_.clear_all();
    log_notifier_.signal();
}

void BackEnd::set_inflight(Inflight inflight) {
    deactivate();
    inflight_.reset();
    inflight_.emplace(std::move(inflight));
    update();
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
        device_->balloon.kicked(index);
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
