#include "shipping_uses.hpp"

#include "kvm/dirty_log.hpp"

namespace aerate::replay {

using protocol::PrecopyPlan;
using prove::HintAction;
using CopyPhase = protocol::Precopy<PageBitmap>::Phase;
using SweepPhase = protocol::Sweep<PageBitmap>::Phase;

// --- what was written ----------------------------------------------------------------------------------------------

WriteGatherer::WriteGatherer(SteppedMonitor& monitor, SchedulePages& pages)
    : monitor_(monitor)
    , pages_(pages)
    , tracker_(monitor.memory, make_dirty_log(monitor.vm, monitor.memory)) {}

Result<> WriteGatherer::start() {
    tracking_ = TRY(tracker_.track());
    return {};
}

void WriteGatherer::take(PageBitmap& into) {
    take_buffers(into);
    take_logs(into);
}

void WriteGatherer::take_logs(PageBitmap& into) {
    PageBitmap all(monitor_.memory.address_space());
    tracking_.gather(all);
    keep_schedule_pages(all, into);
}

/// What devices hold counts as written from the moment they popped it.
void WriteGatherer::take_buffers(PageBitmap& into) const {
    for (unsigned page = 0; page < pages_.frames().size(); ++page)
        if (pages_.is_in_flight(page))
            into.set(pages_.range(page));
}

void WriteGatherer::keep_schedule_pages(const PageBitmap& all, PageBitmap& into) const {
    for (const FrameNumber frame : pages_.frames())
        if (all.test(frame))
            into.set({frame, {1}});
}

// --- migration and snapshot ----------------------------------------------------------------------------------------

ShippingPrecopy::ShippingPrecopy(SteppedMonitor& monitor, SchedulePages& pages, PrecopyPlan plan)
    : HintUse(monitor, pages)
    , writes_(monitor, pages)
    , received_(pages.frames().size()) {
    copy_.plan = plan;
    auto& [log, pending, hinted] = copy_.layers;
    for (PageBitmap* const set : {&log, &pending, &hinted})
        *set = PageBitmap(monitor.memory.address_space());
    for (const FrameNumber frame : pages.frames())
        pending.set({frame, {1}});
}

Result<> ShippingPrecopy::start() {
    TRY(start_logs());
    advance(Event::start);
    return {};
}

std::optional<protocol::PrecopyEffect> ShippingPrecopy::advance(Event kind, PageRange range) {
    const auto effect = protocol::step(copy_, {kind, range});
    if (kind != Event::hinted)
        effect_ = effect ? std::optional(effect->kind) : std::nullopt;
    return effect;
}

void ShippingPrecopy::use(PageRange range) {
    advance(Event::hinted, range);
}

Result<> ShippingPrecopy::gather() {
    writes_.take(copy_.layers.log);
    return {};
}

Result<> ShippingPrecopy::step(HintAction action, unsigned page) {
    switch (action) {
    case HintAction::read_log:
        if (effect_ != Effect::gather)
            break;
        TRY(gather());
        advance(Event::gathered);
        break;
    case HintAction::publish:
        TRY(monitor_.with_balloon([this](SteppedBalloon& balloon) { return balloon.publish(*this); }));
        advance(Event::published);
        break;
    case HintAction::send:
        return send_first(page);
    case HintAction::hand_over:
        return send();
    case HintAction::next_round:
        advance(Event::next_round);
        break;
    case HintAction::finish:
        advance(Event::finish);
        break;
    case HintAction::close:
        if (effect_ != Effect::close)
            break;
        monitor_.with_balloon([](SteppedBalloon& balloon) { balloon.stop(); });
        advance(Event::closed);
        break;
    case HintAction::freeze:
        if (effect_ != Effect::freeze)
            break;
        TRY(pages_.drain([this](FrameNumber frame) { completed(frame); }));
        TRY(monitor_.freeze());
        advance(Event::frozen);
        break;
    default:
        break;
    }
    return {};
}

Result<> ShippingPrecopy::send_first(unsigned page) {
    Result<> sent;
    with_page_first(copy_.layers.pending, page, [&] { sent = send(); });
    return sent;
}

Result<> ShippingPrecopy::send() {
    const auto effect = advance(Event::send, {{}, {1}});
    if (!effect)
        return {};
    if (effect->kind == Effect::send)
        return receive(effect->pages);
    return {};
}

Result<> ShippingPrecopy::receive(PageRange range) {
    Page& page = received_[pages_.page_of(range.first)];
    page.resize(page_size.value);
    if (!monitor_.memory.read(address_of(range.first), page))
        return fail("frame {} is not RAM", range.first.value);
    return {};
}

Result<> ShippingPrecopy::finish() {
    while (copy_.phase != CopyPhase::handed_over) {
        HintAction next = copy_.phase == CopyPhase::final_copy ? HintAction::hand_over : HintAction::finish;
        if (effect_ == Effect::gather)
            next = HintAction::read_log;
        else if (effect_ == Effect::publish)
            next = HintAction::publish;
        else if (effect_ == Effect::close)
            next = HintAction::close;
        else if (effect_ == Effect::freeze)
            next = HintAction::freeze;
        TRY(step(next, 0));
    }
    return run_on_the_copy();
}

/// The destination, or the guest that is restored, has nothing but the copy.
Result<> ShippingPrecopy::run_on_the_copy() {
    for (unsigned page = 0; page < received_.size(); ++page) {
        if (received_[page].empty() && copy_.layers.hinted.test(pages_.frames()[page]))
            saved_ += PageCount{1};
        received_[page].resize(page_size.value);
        if (!monitor_.memory.write(address_of(pages_.frames()[page]), received_[page]))
            return fail("frame {} is not RAM", pages_.frames()[page].value);
    }
    return monitor_.thaw();
}

// --- sweep ---------------------------------------------------------------------------------------------------------

ShippingSweep::ShippingSweep(SteppedMonitor& monitor, SchedulePages& pages, Way way)
    : HintUse(monitor, pages)
    , writes_(monitor, pages)
    , way_(way) {}

Result<> ShippingSweep::start() {
    TRY(start_logs());
    begin();
    return {};
}

void ShippingSweep::begin() {
    sweep_ = {};
    for (PageBitmap* const set :
         {&sweep_.log, &sweep_.written, &sweep_.hinted, &sweep_.later, &sweep_.zero, &looked_at_})
        *set = PageBitmap(monitor_.memory.address_space());
    sweep_.limit = PageCount{1}; // as in the model
    sweep_.logs = way_ == Way::by_log;
    sweep_.scans = scans_;
    advance(Event::start);
}

void ShippingSweep::advance(Event kind, PageRange range) {
    const auto effect = protocol::step(sweep_, {kind, range});
    if (effect || (kind != Event::hinted && kind != Event::round_over))
        effect_ = effect ? std::optional(effect->kind) : std::nullopt;
}

void ShippingSweep::advance_with(unsigned page, Event kind) {
    if (!with_page_first(sweep_.later, page, [&] { advance(kind); }))
        advance(kind);
}

void ShippingSweep::use(PageRange range) {
    advance(Event::hinted, range);
}

Result<> ShippingSweep::gather() {
    writes_.take(sweep_.log);
    return {};
}

Result<> ShippingSweep::take_log() {
    if (wants(Effect::gather)) {
        TRY(gather());
        looked_at_.clear_all();
        advance(Event::gathered);
    }
    return {};
}

void ShippingSweep::scan(FrameNumber frame) {
    if (!may_scan() || looked_at_.test(frame))
        return;
    looked_at_.set({frame, {1}});
    if (protocol::to_scan(sweep_, frame) && monitor_.memory.is_zero(frame))
        sweep_.zero.set({frame, {1}});
}

/// What comes before holding, or by content before discarding: a schedule of another use has no steps for it, or not
/// for every page.
Result<> ShippingSweep::look() {
    TRY(take_log());
    if (!wants(Effect::scan))
        return {};
    for (const FrameNumber frame : pages_.frames())
        scan(frame);
    advance(Event::scanned);
    return {};
}

Result<> ShippingSweep::hold_devices() {
    return pages_.drain([this](FrameNumber frame) { completed(frame); });
}

void ShippingSweep::discard() {
    for (PageRange run = sweep_.hinted.next_run({0}); run.count > PageCount{}; run = sweep_.hinted.next_run(run.end()))
        saved_ += monitor_.memory.discard({&run, 1}).discarded;
    looked_at_.clear_all();
    advance(Event::discarded);
}

Result<> ShippingSweep::step(HintAction action, unsigned page) {
    const bool starts_a_round = action == HintAction::read_log || action == HintAction::publish;
    if (starts_a_round && sweep_.phase == SweepPhase::finished && !effect_)
        begin();
    switch (action) {
    case HintAction::read_log:
    case HintAction::rearm_log:
        return take_log();
    case HintAction::publish:
        TRY(look());
        TRY(monitor_.with_balloon([this](SteppedBalloon& balloon) { return balloon.publish(*this); }));
        advance(Event::published);
        break;
    case HintAction::batch:
        advance_with(page, Event::batch);
        break;
    case HintAction::round_over:
        monitor_.with_balloon([](SteppedBalloon& balloon) { balloon.stop(); });
        advance_with(page, Event::round_over);
        break;
    case HintAction::scan:
        scan(pages_.frames()[page]);
        break;
    case HintAction::freeze:
        TRY(look());
        if (!wants(Effect::hold))
            break;
        TRY(hold_devices());
        TRY(monitor_.freeze());
        advance(Event::held);
        break;
    case HintAction::discard:
        TRY(look());
        if (wants(Effect::discard))
            discard();
        break;
    case HintAction::resume:
        TRY(monitor_.thaw());
        if (wants(Effect::finish))
            monitor_.with_balloon([](SteppedBalloon& balloon) { balloon.done(); });
        if (wants(Effect::resume) || wants(Effect::finish))
            effect_.reset();
        break;
    case HintAction::resumed:
        advance_with(page, Event::resumed);
        break;
    default:
        break;
    }
    return {};
}

Result<> ShippingSweep::finish() {
    while (sweep_.phase != SweepPhase::finished || effect_) {
        HintAction next = HintAction::round_over;
        if (wants(Effect::gather))
            next = HintAction::read_log;
        else if (wants(Effect::publish))
            next = HintAction::publish;
        else if (wants(Effect::scan) || wants(Effect::hold))
            next = HintAction::freeze;
        else if (wants(Effect::discard))
            next = HintAction::discard;
        else if (effect_)
            next = HintAction::resume;
        else if (sweep_.phase == SweepPhase::resuming)
            next = HintAction::resumed;
        TRY(step(next, 0));
    }
    return {};
}

} // namespace aerate::replay
