// The virtio balloon (virtio 1.2, 5.5): the guest gives pages up on request (inflate), tells which it does not use
// (reporting, hinting), and how it is (statistics).
//
//     Balloon balloon({.free_page_reporting = true}, memory, loop);
//     TRY(balloon.set_target(whole_pages_of(512_MiB)));
//     balloon.statistics().request([](const Result<GuestStatistics>& answer) { ... });
//     balloon.hinting().start(sink, OnGuestStop::done);
//
// All calls on the thread of `loop`; discards happen there too, so give the balloon a loop of its own.
#pragma once

#include "balloon/balloon_state.hpp"
#include "balloon/counters.hpp"
#include "balloon/free_page_hinting.hpp"
#include "balloon/free_page_reporting.hpp"
#include "balloon/inflation.hpp"
#include "balloon/page_states.hpp"
#include "balloon/queue_layout.hpp"
#include "balloon/statistics.hpp"
#include "virtio/device.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace aerate::balloon {

struct BalloonConfig {
    bool deflate_on_oom = false;
    bool free_page_hinting = false;
    bool free_page_reporting = false;
    bool page_poison = true;
    bool statistics = true;
    /// How long nothing inflates after the guest took memory back: see Balloon::set_target().
    std::chrono::milliseconds rest_after_oom = std::chrono::seconds(10);
};

/// What the guest has told of its pages.
struct MemoryState {
    PageCount ballooned; ///< in the balloon now
    PageCount reported;  ///< reported free since the last reset; see PageStates
    PageCount hinted;    ///< hinted in the newest round
};

/// On whose account a target is set.
enum class TargetOf : std::uint8_t {
    operator_, ///< the next driver, or a copy of this guest, is asked for it too
    monitor,   ///< its own for a while, or the host's policy's: nobody else is to stand by it
};

/// What has changed: see Balloon::on_change().
enum class BalloonChange : std::uint8_t { target, actual, taken_back };

class Balloon final : public virtio::Device {
public:
    /// Fails when the host refuses the memory to know each page's state.
    [[nodiscard]] static Result<std::unique_ptr<Balloon>> create(const BalloonConfig&, GuestMemory&, EventLoop&);
    /// Takes over `states`, in which no page has a state yet.
    Balloon(const BalloonConfig&, GuestMemory&, EventLoop&, PageStates states);
    /// Serves tests and models, which end when the host refuses the memory.
    Balloon(const BalloonConfig&, GuestMemory&, EventLoop&);

    /// Sets how many pages the guest should give up. Refuses to inflate for a while after the guest took memory back.
    [[nodiscard]] Result<> set_target(PageCount, TargetOf = TargetOf::operator_);
    [[nodiscard]] PageCount target() const { return {target_}; }
    /// Returns how many pages the guest says that it has given up. A guest may lie: show it, do not rely on it.
    [[nodiscard]] PageCount actual() const { return {actual_}; }
    /// Calls `written` each time the guest has written actual(), or a reset or restore() has. One listener,
    /// which returns soon: the guest's vCPU waits for it. Null: none.
    void on_actual(EventLoop::Callback written) { on_actual_ = std::move(written); }
    /// Calls `changed` when the target was set, actual() was written, or the guest took pages back (then in place of
    /// `actual`). One listener, which returns soon, and sets no target. Null: none.
    void on_change(std::move_only_function<void(BalloonChange)> changed) { on_change_ = std::move(changed); }

    /// Returns how long ago the guest last took memory back unasked, if it has (DEFLATE_ON_OOM). The target was lowered
    /// to what was left then: a target above it would have the driver take the same pages again at the next config
    /// interrupt, whatever that was for, and again, with nothing left for the guest ("Out of puff!").
    [[nodiscard]] std::optional<std::chrono::milliseconds> since_taken_back() const;

    [[nodiscard]] Statistics& statistics() { return statistics_; }
    [[nodiscard]] FreePageHinting& hinting() { return hinting_; }
    [[nodiscard]] const Counters& counters() const { return counters_; }
    [[nodiscard]] MemoryState memory_state() const;
    [[nodiscard]] const PageStates& page_states() const { return states_; }

    [[nodiscard]] virtio::DeviceType type() const override { return virtio::DeviceType::balloon; }
    [[nodiscard]] virtio::FeatureSet offered_features() const override { return offered_; }
    [[nodiscard]] std::span<const std::uint16_t> queue_sizes() const override { return queue_sizes_; }
    void read_config(std::uint32_t offset, std::span<std::byte> into) override;
    void write_config(std::uint32_t offset, std::span<const std::byte> from, virtio::FeatureSet negotiated) override;

    /// Returns the state, without `ballooned` where that would be more than `runs_max` runs of pages, and `reported`
    /// likewise: the guest decides how many there are.
    [[nodiscard]] BalloonState state(std::size_t runs_max = ~std::size_t{0}) const;
    /// Fails if a value lies beyond the guest's RAM.
    [[nodiscard]] Result<> restore(const BalloonState&);
    [[nodiscard]] virtio::DeviceState save() const override { return encode(state()); }
    [[nodiscard]] Result<> restore(const virtio::DeviceState& state) override { return restore(TRY(decode(state))); }
    [[nodiscard]] std::vector<virtio::Metric> metrics() const override { return metrics_of(counters_); }

private:
    [[nodiscard]] std::expected<bool, virtio::RingFault> serve(virtio::QueueIndex, virtio::Virtqueue&) override;
    void on_activate(virtio::FeatureSet) override;
    void on_reset() override;
    /// Keeps the statistics queue's buffer with the device until it wants numbers.
    void on_pause() override {
        statistics_.return_buffer();
        hinting_.pause();
    }
    void on_resume() override { hinting_.resume(); }

    [[nodiscard]] std::expected<bool, virtio::RingFault> serve(Queue, virtio::Virtqueue&);
    void actual_written(std::uint32_t before);
    void taken_back(PageCount);
    void tell(BalloonChange);

    const EventLoop& loop_;
    GuestMemory& memory_;
    virtio::FeatureSet offered_;
    std::vector<std::uint16_t> queue_sizes_;

    Counters counters_;
    PageStates states_;
    Inflation inflation_;
    Statistics statistics_;
    FreePageHinting hinting_;
    FreePageReporting reporting_;

    // The config space, less free_page_hint_cmd_id, which is hinting's.
    std::uint32_t target_ = 0;
    std::uint32_t wanted_ = 0; ///< the target as the operator set it last, before the guest undercut it
    std::uint32_t actual_ = 0;
    /// The lowest target in force since the guest last wrote actual(): it may still act on that one.
    std::uint32_t lowest_target_ = 0;
    const std::chrono::milliseconds rest_after_oom_;
    std::optional<std::chrono::steady_clock::time_point> taken_back_;
    EventLoop::Callback on_actual_;
    std::move_only_function<void(BalloonChange)> on_change_;
    std::uint32_t poison_value_ = 0;

    // From activate() to reset().
    virtio::FeatureSet negotiated_;
    QueueLayout layout_{};
};

} // namespace aerate::balloon
