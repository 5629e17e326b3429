// A balloon that has only its hint queue, and looks at it only when told: one chain a step. What it does with the chain
// is the shipping FreePageHinting's business.
#pragma once

#include "balloon/counters.hpp"
#include "balloon/free_page_hinting.hpp"
#include "base/error.hpp"
#include "virtio/device.hpp"

#include <array>
#include <cstdint>
#include <optional>

namespace aerate::replay {

/// Bugs that a device can have, and the shipping one has not.
struct DeviceFaults {
    bool id_ignored = false;    ///< every hint counts while a round is open, whatever marker came before it
    bool index_ignored = false; ///< the chains in the queue at publication are not taken for stale
};

/// A queue that shows what was popped last, and can conceal its backlog.
class ObservedQueue final : public virtio::Virtqueue {
public:
    ObservedQueue(virtio::Virtqueue& queue, bool hides_backlog)
        : queue_(queue)
        , hides_backlog_(hides_backlog) {}

    [[nodiscard]] std::expected<std::optional<virtio::DescriptorChain>, virtio::RingFault> pop() override;
    void give_back(virtio::ChainId chain) override { queue_.give_back(chain); }
    void complete(virtio::ChainId id, std::uint32_t written) override { queue_.complete(id, written); }
    [[nodiscard]] bool publish() override { return queue_.publish(); }
    void want_kicks(bool wanted) override { queue_.want_kicks(wanted); }
    [[nodiscard]] std::uint16_t available() override { return hides_backlog_ ? std::uint16_t{0} : queue_.available(); }
    [[nodiscard]] std::uint16_t in_flight() const override { return queue_.in_flight(); }
    [[nodiscard]] std::uint16_t size() const override { return queue_.size(); }
    [[nodiscard]] virtio::QueuePosition position() const override { return queue_.position(); }
    [[nodiscard]] std::optional<virtio::RingFault> fault() const override { return queue_.fault(); }
    [[nodiscard]] std::uint64_t completed() const override { return queue_.completed(); }

    /// The pages of the chain that was popped last, if it was a hint.
    [[nodiscard]] std::optional<PageRange> last_hint() const { return last_hint_; }

private:
    virtio::Virtqueue& queue_;
    bool hides_backlog_;
    std::optional<PageRange> last_hint_;
};

/// Loop thread.
class SteppedBalloon final : public virtio::Device {
public:
    SteppedBalloon(GuestMemory& memory, EventLoop& loop)
        : Device("balloon")
        , memory_(memory)
        , loop_(loop) {}

    /// For the next driver: the ring's size is a power of two.
    void prepare(std::uint16_t ring_size, DeviceFaults);
    /// Pops a chain and keeps it for ever, so that the ring has one place less.
    [[nodiscard]] Result<> keep_one();
    [[nodiscard]] Result<> pop_one();
    [[nodiscard]] Result<> publish(HintSink& sink);
    void stop() { hinting_->stop(); }
    void done() { hinting_->done(); }
    [[nodiscard]] const protocol::HintTracker& tracker() const { return hinting_->tracker(); }

    [[nodiscard]] virtio::DeviceType type() const override { return virtio::DeviceType::balloon; }
    [[nodiscard]] virtio::FeatureSet offered_features() const override;
    [[nodiscard]] std::span<const std::uint16_t> queue_sizes() const override { return queue_sizes_; }
    void read_config(std::uint32_t offset, std::span<std::byte> into) override;

private:
    static constexpr std::uint16_t hint_queue = 2; ///< behind inflate and deflate

    /// Never called: the test pops.
    [[nodiscard]] std::expected<bool, virtio::RingFault> serve(virtio::QueueIndex, virtio::Virtqueue&) override {
        return false;
    }
    void on_activate(virtio::FeatureSet) override;
    void on_reset() override;

    GuestMemory& memory_;
    EventLoop& loop_;
    balloon::Counters counters_;
    DeviceFaults faults_;
    std::array<std::uint16_t, 3> queue_sizes_{4, 4, 4};
    std::optional<ObservedQueue> queue_;
    /// A new one for each driver, so that its IDs begin where the model's do.
    std::optional<balloon::FreePageHinting> hinting_;
    HintSink* sink_ = nullptr;
};

} // namespace aerate::replay
