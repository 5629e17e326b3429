#include "naive_uses.hpp"

namespace aerate::replay {

using protocol::PrecopyPlan;
using prove::Fault;
using prove::HintAction;
using prove::HintSetting;
using prove::Use;

namespace {

bool is_snapshot(const HintSetting& setting) {
    return setting.use == Use::skip_by_hint || setting.use == Use::skip_unwritten;
}

bool copies(const HintSetting& setting) {
    return is_snapshot(setting) || setting.use == Use::clear_pending || setting.use == Use::clear_live;
}

bool is_lazy(const HintSetting& setting) {
    return setting.log == prove::Log::lazy_clear;
}

PrecopyPlan plan_of(const HintSetting& setting) {
    return is_snapshot(setting) ? PrecopyPlan::snapshot : PrecopyPlan::migration;
}

} // namespace

std::unique_ptr<HintUse> make_naive_use(const HintSetting& setting, SteppedMonitor& monitor, SchedulePages& pages) {
    if (copies(setting))
        return std::make_unique<NaivePrecopy>(setting, monitor, pages);
    if (setting.use == Use::discard_held)
        return std::make_unique<NaiveSweep>(setting, monitor, pages);
    if (setting.use == Use::discard_locked)
        return std::make_unique<NaiveGuard>(setting, monitor, pages);
    return std::make_unique<NaiveDiscard>(setting, monitor, pages);
}

std::unique_ptr<HintUse> make_shipping_use(const HintSetting& setting, SteppedMonitor& monitor, SchedulePages& pages) {
    if (copies(setting))
        return std::make_unique<ShippingPrecopy>(monitor, pages, plan_of(setting));
    return std::make_unique<ShippingSweep>(
        monitor, pages, setting.by_content ? ShippingSweep::Way::by_content : ShippingSweep::Way::by_log);
}

// --- migration and snapshot ----------------------------------------------------------------------------------------

NaivePrecopy::NaivePrecopy(const HintSetting& setting, SteppedMonitor& monitor, SchedulePages& pages)
    : ShippingPrecopy(monitor, pages, plan_of(setting))
    , setting_(setting)
    , ever_hinted_(monitor.memory.address_space()) {
    if (is_lazy(setting))
        lazy_.emplace(monitor.vm);
}

NaivePrecopy::~NaivePrecopy() {
    if (lazy_)
        monitor_.memory.write_log().stop();
}

Result<> NaivePrecopy::start_logs() {
    if (!lazy_)
        return writes_.start();
    monitor_.memory.write_log().start();
    return lazy_->start();
}

Result<> NaivePrecopy::gather() {
    if (!lazy_)
        return ShippingPrecopy::gather();
    PageBitmap all(monitor_.memory.address_space());
    TRY(lazy_->copy(all));
    monitor_.memory.write_log().take(all);
    writes_.keep_schedule_pages(all, copy_.layers.log);
    writes_.take_buffers(copy_.layers.log);
    return {};
}

Result<> NaivePrecopy::send() {
    // The content is read after the log of its chunk is armed again.
    if (lazy_)
        TRY(lazy_->clear_copied());
    return ShippingPrecopy::send();
}

void NaivePrecopy::use(PageRange range) {
    ever_hinted_.set(range);
    if (setting_.fault == Fault::late_hints)
        return; // see hint_late
    if (lazy_ && !lazy_->clear_copied())
        return;
    ShippingPrecopy::use(range);
    if (setting_.use == Use::clear_live || setting_.fault == Fault::hint_clears_log) {
        // One bitmap for what is to be sent and for what is being written.
        writes_.take_logs(copy_.layers.log);
        copy_.layers.log.clear(range);
    }
}

Result<> NaivePrecopy::step(HintAction action, unsigned page) {
    if (action == HintAction::hint_late && ever_hinted_.test(pages_.frames()[page]))
        copy_.layers.hint(pages_.range(page));
    return ShippingPrecopy::step(action, page);
}

void NaivePrecopy::completed(FrameNumber frame) {
    if (setting_.fault == Fault::device_writes_pending)
        copy_.layers.pending.set({frame, {1}});
    else
        HintUse::completed(frame);
}

Result<> NaivePrecopy::finish() {
    if (setting_.use == Use::skip_by_hint)
        for (unsigned page = 0; page < received_.size(); ++page)
            if (ever_hinted_.test(pages_.frames()[page]))
                received_[page].clear();
    return ShippingPrecopy::finish();
}

// --- sweep ---------------------------------------------------------------------------------------------------------

NaiveSweep::NaiveSweep(const HintSetting& setting, SteppedMonitor& monitor, SchedulePages& pages)
    : ShippingSweep(monitor, pages, setting.by_content ? Way::by_content : Way::by_log)
    , setting_(setting) {
    scans_ = setting.clears;
}

Result<> NaiveSweep::gather() {
    if (setting_.fault == Fault::discard_in_flight)
        writes_.take_logs(sweep_.log);
    else
        writes_.take(sweep_.log);
    if (setting_.fault == Fault::zero_not_checked)
        sweep_.log.remove(sweep_.zero);
    return {};
}

Result<> NaiveSweep::hold_devices() {
    if (setting_.fault == Fault::discard_in_flight)
        return {};
    return ShippingSweep::hold_devices();
}

bool NaiveSweep::may_scan() const {
    return ShippingSweep::may_scan() || (setting_.fault == Fault::zero_not_held && wants(Effect::hold));
}

// --- discard at once, or after a look ------------------------------------------------------------------------------

NaiveDiscard::NaiveDiscard(const HintSetting& setting, SteppedMonitor& monitor, SchedulePages& pages)
    : HintUse(monitor, pages)
    , setting_(setting)
    , writes_(monitor, pages)
    , log_(monitor.memory.address_space())
    , decided_(monitor.memory.address_space()) {}

Result<> NaiveDiscard::step(HintAction action, unsigned page) {
    const PageRange range = pages_.range(page);
    if (action == HintAction::publish) {
        writes_.take(log_);
        log_.clear_all();
        return monitor_.with_balloon([this](SteppedBalloon& balloon) { return balloon.publish(*this); });
    }
    if (action == HintAction::publish_done)
        monitor_.with_balloon([](SteppedBalloon& balloon) { balloon.done(); });
    if (action == HintAction::discard_page && decided_.test(range.first)) {
        decided_.clear(range);
        writes_.take(log_);
        monitor_.memory.discard({&range, 1});
        // A log of writes only: this monitor does not log its own discards.
        PageBitmap own(monitor_.memory.address_space());
        monitor_.memory.write_log().take(own);
    }
    return {};
}

void NaiveDiscard::use(PageRange range) {
    if (setting_.use == Use::discard_at_once) {
        monitor_.memory.discard({&range, 1});
        return;
    }
    writes_.take(log_);
    if (!log_.test(range.first))
        decided_.set(range);
}

// --- discard under the lock of the write faults --------------------------------------------------------------------

NaiveGuard::NaiveGuard(const HintSetting& setting, SteppedMonitor& monitor, SchedulePages& pages)
    : HintUse(monitor, pages)
    , setting_(setting)
    , guard_(monitor.memory, setting.fault == Fault::hole_not_protected ? WriteGuard::Holes::are_forgotten
                                                                        : WriteGuard::Holes::are_guarded) {}

Result<> NaiveGuard::step(HintAction action, unsigned) {
    if (action != HintAction::publish)
        return {};
    TRY(guard_.protect_all());
    return monitor_.with_balloon([this](SteppedBalloon& balloon) { return balloon.publish(*this); });
}

void NaiveGuard::use(PageRange range) {
    guard_.locked([&](PageBitmap& written) {
        if (written.test(range.first))
            return;
        monitor_.memory.discard({&range, 1});
        if (setting_.fault != Fault::not_protected_again)
            written.set(range);
    });
}

} // namespace aerate::replay
