// The free page hinting queue (virtio 1.2, 5.5.6.5): feeds what the guest sends to the HintTracker, and what may be
// believed to the HintSink of the round. It never touches the hinted memory.
//
// Loop thread. The sink may call start(), stop() and done() from inside its own calls.
#pragma once

#include "balloon/counters.hpp"
#include "event/event_loop.hpp"
#include "memory/guest_memory.hpp"
#include "memory/hints.hpp"
#include "protocol/hint_tracker.hpp"
#include "virtio/device.hpp"

#include <chrono>
#include <cstdint>
#include <expected>
#include <optional>

namespace aerate::balloon {

/// What happens when the guest says that it has no more to hint.
enum class OnGuestStop : std::uint8_t {
    hold, ///< the guest keeps the pages until done(): as long as the hints are in use
    done, ///< done() at once
};

struct HintStatus {
    std::uint32_t host_command{};               ///< what the guest reads: the ID, 0 for STOP, 1 for DONE
    std::optional<std::uint32_t> guest_command; ///< the last that the guest sent
};

class FreePageHinting final : public HintSource {
public:
    /// A round that takes longer is ended by the host: a guest may lose its STOP when its ring is full, and a hostile
    /// one never sends it.
    static constexpr std::chrono::milliseconds default_round_limit = std::chrono::seconds(30);
    /// Linux begins within milliseconds. A driver that has not done so after this long is gone, or will never do so.
    static constexpr std::chrono::milliseconds default_answer_limit = std::chrono::seconds(5);

    FreePageHinting(GuestMemory& memory, EventLoop& loop, Counters& counters,
                    std::chrono::milliseconds round_limit = default_round_limit,
                    std::chrono::milliseconds answer_limit = default_answer_limit);

    void attach(virtio::Virtqueue&, virtio::DeviceHost&);
    /// Forgets the queue; an open round ends.
    void reset();
    /// Restores a VM that was saved when this was its newest ID. Tells the guest DONE.
    void restore(CommandId last);
    std::expected<bool, virtio::RingFault> serve(virtio::Virtqueue& queue) { return serve(queue, queue.size()); }
    /// Serves at most this many chains.
    std::expected<bool, virtio::RingFault> serve(virtio::Virtqueue&, unsigned limit);

    /// Starts a round and returns its ID; CommandId{0} if there is none, because the guest has not negotiated hinting
    /// or every ID is used up. round_ended() comes when the guest says so, and when the host cuts the round; not after
    /// stop() or done().
    CommandId start(HintSink& sink) override { return start(sink, OnGuestStop::hold); }
    CommandId start(HintSink& sink, OnGuestStop on_guest_stop);
    void stop() override;
    void done() override;

    /// Stops the guest's time: it may have answered in the queue, which is not read now.
    void pause();
    void resume();

    [[nodiscard]] bool attached() const { return queue_ != nullptr; }
    [[nodiscard]] HintStatus status() const { return {tracker_.config_value(), tracker_.guest_command}; }
    [[nodiscard]] const protocol::HintTracker& tracker() const { return tracker_; }
    /// Returns the pages hinted in the newest round, repetitions included.
    [[nodiscard]] PageCount hinted_this_round() const { return hinted_this_round_; }
    /// Returns whether the driver answers a round by reporting what is free, and hints nothing (docs/guest-driver.md):
    /// known from the first round on in which it did.
    [[nodiscard]] bool answered_by_reports() const { return answered_by_reports_; }

private:
    void take(const virtio::DescriptorChain&);
    void take_command(std::span<const virtio::Buffer>);
    void take_hint(const virtio::Buffer&);
    void cut_round(RoundEnd how = RoundEnd::cut);
    void note_kind_of_answer();
    void end_round(RoundEnd);
    void give_time(std::chrono::milliseconds);
    void stop_clock();

    GuestMemory& memory_;
    EventLoop& loop_;
    Counters& counters_;
    std::chrono::milliseconds round_limit_;
    std::chrono::milliseconds answer_limit_;
    virtio::Virtqueue* queue_ = nullptr;
    virtio::DeviceHost* host_ = nullptr;
    protocol::HintTracker tracker_;
    HintSink* sink_ = nullptr; ///< of the open round
    OnGuestStop on_guest_stop_ = OnGuestStop::hold;
    Subscription time_limit_;                           ///< of the open round, while it is not paused
    std::chrono::steady_clock::time_point out_of_time_; ///< when that ends
    std::optional<std::chrono::milliseconds> left_;     ///< for the open round, while it is paused
    bool paused_ = false;
    bool answered_ = false; ///< the guest has begun the round once
    PageCount hinted_this_round_;
    PageCount reported_before_; ///< when the newest round was begun
    bool answered_by_reports_ = false;
};

} // namespace aerate::balloon
