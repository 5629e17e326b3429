#include "vhost_user/back_end.hpp"

#include "balloon/config_space.hpp"
#include "balloon/features.hpp"
#include "base/check.hpp"
#include "vhost_user/message_socket.hpp"
#include "vhost_user/wire.hpp"
#include "virtio/mmio_registers.hpp"

#include <utility>

namespace aerate::vhost_user {
namespace {

using virtio::FeatureSet;

/// No INDIRECT_DESC: the balloon driver of Linux clears the bit, and User Mode Linux then negotiates twice.
FeatureSet offer(const balloon::Balloon& balloon, const BackEndOptions& options) {
    return balloon.offered_features()
        .with(virtio::feature::version_1)
        .with(virtio::feature::event_index)
        .with(virtio::feature::ring_packed, options.offer_packed)
        .with(feature::log_all)
        .with(feature::protocol_features);
}

} // namespace

Result<std::unique_ptr<BackEnd::Device>> BackEnd::Device::create(MemoryTable table, std::shared_ptr<GuestMemory> memory,
                                                                 const balloon::BalloonConfig& config,
                                                                 EventLoop& loop) {
    const PageCount pages = memory->address_space();
    auto balloon = TRY(balloon::Balloon::create(config, *memory, loop));
    return std::make_unique<Device>(std::move(table), std::move(memory),
                                    balloon::CountingSink(TRY(PageBitmap::create(pages))),
                                    TRY(PageBitmap::create(pages)), std::move(balloon));
}

Result<std::unique_ptr<BackEnd>> BackEnd::create(EventLoop& loop, const BackEndOptions& options, Events events,
                                                 std::optional<KeptState> kept) {
    auto device = TRY(Device::create(MemoryTable{}, TRY(stand_in()), options.balloon, loop));
    return std::unique_ptr<BackEnd>(new BackEnd(loop, options, std::move(events), std::move(device), std::move(kept)));
}

BackEnd::BackEnd(EventLoop& loop, const BackEndOptions& options, Events events, std::unique_ptr<Device> device,
                 std::optional<KeptState> kept)
    : loop_(loop)
    , options_(options)
    , events_(std::move(events))
    , device_(std::move(device))
    , memory_part_(options.memory_budget)
    , offered_(offer(*device_->balloon, options))
    , rings_(device_->balloon->queue_sizes().size()) {
    if (kept) {
        state_ = std::move(kept->balloon);
        poison_value_ = kept->poison_value;
        kept_target_ = state_.target;
    }
    (void)device_->balloon->restore(fitted(
        {.target = kept_target_, .last_command = state_.last_command, .ballooned = {}, .reported = {}}, memory()));
}

BackEnd::~BackEnd() {
    deactivate();
    for (Vring& ring : rings_)
        ring.watch.cancel();
}

void BackEnd::set_statistics_interval(std::chrono::seconds interval) {
    options_.statistics_interval = interval;
    device_->balloon->statistics().set_interval(interval);
}

balloon::Counters BackEnd::counters() const {
    balloon::Counters sum = earlier_;
    sum += device_->balloon->counters();
    return sum;
}

KeptState BackEnd::keep() {
    CHECK(loop_.owned_here());
    deactivate();
    KeptState kept{state_, poison_value_};
    kept.balloon.target = wanted_target();
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
        return fail("features {:#x} are not a valid choice: {:#x} were offered, and VERSION_1 is needed", features.bits,
                    offered_.bits);
    }
    const FeatureSet changed{features.bits ^ negotiated_.bits};
    if (changed.with(feature::log_all, false).bits != 0 || !features.has(feature::protocol_features))
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
    state_ = {.last_command = state_.last_command, .ballooned = {}, .reported = {}};
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

FeatureSet BackEnd::driver_features() const {
    return negotiated_.with(feature::log_all, false).with(feature::protocol_features, false);
}

// --- Config space ----------------------------------------------------------------------------------------------------

void BackEnd::read_config(std::uint32_t offset, std::span<std::byte> into) {
    balloon().read_config(offset, into);
}

void BackEnd::write_config(std::uint32_t offset, std::span<const std::byte> from) {
    constexpr std::uint32_t poison = balloon::config_space::poison_value;
    FeatureSet features = driver_features();
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
        poison_value_ = balloon().state(0).poison_value;
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

} // namespace aerate::vhost_user
