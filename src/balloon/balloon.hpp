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
#include <cstdint>
#include <utility>
#include <vector>

namespace aerate::balloon {

struct BalloonConfig {
    bool deflate_on_oom = false;
    bool free_page_hinting = false;
    bool free_page_reporting = false;
    bool page_poison = true;
    bool statistics = true;
};

/// What the guest has told of its pages.
struct MemoryState {
    PageCount ballooned; ///< in the balloon now
    PageCount reported;  ///< reported free since the last reset; see PageStates
    PageCount hinted;    ///< hinted in the newest round
};

class Balloon final : public virtio::Device {
public:
    Balloon(const BalloonConfig& config, GuestMemory& memory, EventLoop& loop);

    /// How many pages the guest should give up.
    [[nodiscard]] Result<> set_target(PageCount);
    [[nodiscard]] PageCount target() const { return {target_}; }
    /// How many the guest says that it has given up. A guest may lie: to be shown, not to be relied on.
    [[nodiscard]] PageCount actual() const { return {actual_}; }
    /// `written` is called each time that the guest has written actual(), or a reset or restore() has. One listener,
    /// which returns soon: the guest's vCPU waits for it. Null: none.
    void on_actual(EventLoop::Callback written) { on_actual_ = std::move(written); }

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
    void activate(const virtio::Activation&) override;
    void kicked(virtio::QueueIndex) override;
    void reset() override;
    void pause(EventLoop::Callback quiesced) override;
    void resume() override;

    /// Without `ballooned` where that would be more than `runs_max` runs of pages, and `reported` likewise: the guest
    /// decides how many there are. REQUIRES: paused.
    [[nodiscard]] BalloonState save(std::size_t runs_max = ~std::size_t{0}) const;
    /// After the transport is restored. Values beyond the guest's RAM are refused.
    [[nodiscard]] Result<> restore(const BalloonState&);

private:
    [[nodiscard]] virtio::Virtqueue* queue(Queue kind) const { return queues_[static_cast<std::size_t>(kind)]; }
    [[nodiscard]] std::expected<bool, virtio::RingFault> serve(Queue, virtio::Virtqueue&);
    void actual_written(std::uint32_t before);

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
    std::uint32_t actual_ = 0;
    EventLoop::Callback on_actual_;
    std::uint32_t poison_value_ = 0;

    // From activate() to reset().
    virtio::DeviceHost* host_ = nullptr;
    virtio::FeatureSet negotiated_;
    QueueLayout layout_{};
    std::array<virtio::Virtqueue*, queue_kinds> queues_{};
    bool broken_ = false;

    bool paused_ = false;
};

} // namespace aerate::balloon
