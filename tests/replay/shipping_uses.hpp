// The engines that ship, driven one step at a time: protocol::Precopy and protocol::Sweep over PageBitmap, KVM's log
// read and cleared in one call, the monitor's WriteLog, the shipping balloon.
//
// Only the schedule's pages are looked at: the guest's own stack and console come and go in KVM's log, and would only
// be sent along.
#pragma once

#include "hint_use.hpp"
#include "memory/dirty_tracker.hpp"
#include "protocol/precopy.hpp"
#include "protocol/sweep.hpp"

#include <cstddef>
#include <optional>
#include <vector>

namespace aerate::replay {

/// Everything that is to be gathered: KVM's log, the monitor's, and the buffers that devices hold.
class WriteGatherer {
public:
    WriteGatherer(SteppedMonitor&, SchedulePages&);

    [[nodiscard]] Result<> start();
    void take(PageBitmap& into);
    /// The parts of it.
    void take_logs(PageBitmap& into);
    void take_buffers(PageBitmap& into) const;
    /// Adds the schedule's pages that are in `all`.
    void keep_schedule_pages(const PageBitmap& all, PageBitmap& into) const;

private:
    SteppedMonitor& monitor_;
    SchedulePages& pages_;
    DirtyTracker tracker_;
    DirtyTracker::Tracking tracking_;
};

/// A migration, or a snapshot.
class ShippingPrecopy : public HintUse {
public:
    ShippingPrecopy(SteppedMonitor&, SchedulePages&, protocol::PrecopyPlan);

    Result<> start() override;
    Result<> step(prove::HintAction, unsigned page) override;
    Result<> finish() override;

    [[nodiscard]] const protocol::PageLayers<PageBitmap>& layers() const { return copy_.layers; }

protected:
    using Event = protocol::PrecopyEvent::Kind;
    using Effect = protocol::PrecopyEffect::Kind;
    using Page = std::vector<std::byte>;

    void use(PageRange) override;
    virtual Result<> start_logs() { return writes_.start(); }
    virtual Result<> gather();
    virtual Result<> send();
    Result<> send_first(unsigned page);
    std::optional<protocol::PrecopyEffect> advance(Event, PageRange = {});

    WriteGatherer writes_;
    protocol::Precopy<PageBitmap> copy_;
    std::vector<Page> received_; ///< what the other side has of each page; empty: nothing, it reads as zero

private:
    Result<> receive(PageRange);
    Result<> run_on_the_copy();

    std::optional<Effect> effect_; ///< asked for by the engine, and not done yet
};

/// Giving free memory back, with every writer held.
class ShippingSweep : public HintUse {
public:
    enum class Way : std::uint8_t { by_log, by_content };
    ShippingSweep(SteppedMonitor&, SchedulePages&, Way);

    Result<> start() override;
    Result<> step(prove::HintAction, unsigned page) override;
    Result<> finish() override;

protected:
    using Event = protocol::SweepEvent::Kind;
    using Effect = protocol::SweepEffect::Kind;

    void use(PageRange) override;
    virtual Result<> start_logs() { return writes_.start(); }
    virtual Result<> gather();
    virtual Result<> hold_devices();
    [[nodiscard]] virtual bool may_scan() const { return wants(Effect::scan); }
    [[nodiscard]] bool wants(Effect effect) const { return effect_ == effect; }

    WriteGatherer writes_;
    protocol::Sweep<PageBitmap> sweep_;
    Way way_;
    bool scans_ = true;

private:
    void begin();
    void advance(Event, PageRange = {});
    void advance_with(unsigned page, Event kind);
    Result<> take_log();
    void scan(FrameNumber);
    Result<> look();
    void discard();

    std::optional<Effect> effect_; ///< asked for by the engine, and not done yet
    PageBitmap looked_at_;         ///< of this batch
};

} // namespace aerate::replay
