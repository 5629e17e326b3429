// Monitors with one bug each, as the trace's setting names it. They are here so that it is known that the schedules and
// the check would find it; nothing of them ships.
#pragma once

#include "lazy_dirty_log.hpp"
#include "prove/hint_setting.hpp"
#include "shipping_uses.hpp"
#include "write_guard.hpp"

#include <memory>
#include <optional>

namespace aerate::replay {

[[nodiscard]] std::unique_ptr<HintUse> make_naive_use(const prove::HintSetting&, SteppedMonitor&, SchedulePages&);
/// The engine that ships for the same purpose.
[[nodiscard]] std::unique_ptr<HintUse> make_shipping_use(const prove::HintSetting&, SteppedMonitor&, SchedulePages&);

class NaivePrecopy final : public ShippingPrecopy {
public:
    NaivePrecopy(const prove::HintSetting&, SteppedMonitor&, SchedulePages&);
    ~NaivePrecopy() override;

    Result<> step(prove::HintAction, unsigned page) override;
    Result<> finish() override;
    void completed(FrameNumber) override;

private:
    void use(PageRange) override;
    Result<> start_logs() override;
    Result<> gather() override;
    Result<> send() override;

    prove::HintSetting setting_;
    std::optional<LazyDirtyLog> lazy_;
    PageBitmap ever_hinted_;
};

class NaiveSweep final : public ShippingSweep {
public:
    NaiveSweep(const prove::HintSetting&, SteppedMonitor&, SchedulePages&);

    /// What it has destroyed by now is enough.
    Result<> finish() override { return {}; }

private:
    Result<> gather() override;
    Result<> hold_devices() override;
    [[nodiscard]] bool may_scan() const override;

    prove::HintSetting setting_;
};

/// Discards while the guest runs: at once, or after a look at the log.
class NaiveDiscard final : public HintUse {
public:
    NaiveDiscard(const prove::HintSetting&, SteppedMonitor&, SchedulePages&);

    Result<> start() override { return writes_.start(); }
    Result<> step(prove::HintAction, unsigned page) override;
    Result<> finish() override { return {}; }

private:
    void use(PageRange) override;

    prove::HintSetting setting_;
    WriteGatherer writes_;
    PageBitmap log_;     ///< written since the ID
    PageBitmap decided_; ///< hinted and not in the log then: to be discarded
};

/// Discards under the lock of the write faults, with a hole in the protection.
class NaiveGuard final : public HintUse {
public:
    NaiveGuard(const prove::HintSetting&, SteppedMonitor&, SchedulePages&);

    Result<> start() override { return {}; }
    Result<> step(prove::HintAction, unsigned page) override;
    Result<> finish() override { return {}; }

private:
    void use(PageRange) override;

    prove::HintSetting setting_;
    WriteGuard guard_;
};

} // namespace aerate::replay
