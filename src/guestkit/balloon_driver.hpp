// The virtio balloon's driver: inflation, statistics, free page hinting and free page reporting over one transport.
//
//     auto driver = BalloonDriver<virtio::SplitDriver, Transport>::start(transport, allocator, arena, {});
//     for (;;) {                        // on an interrupt, or from time to time
//         if (config changed) driver->config_changed();
//         driver->poll();
//     }
//
// Freestanding: no allocation but from `allocator`, no exceptions, no waiting. One thread.
#pragma once

#include "guestkit/arena.hpp"
#include "guestkit/balloon_wire.hpp"
#include "guestkit/hinting.hpp"
#include "guestkit/inflation.hpp"
#include "guestkit/reporting.hpp"
#include "guestkit/statistics.hpp"

#include <cstdint>
#include <optional>
#include <type_traits>

namespace aerate::guestkit {

struct BalloonOptions {
    Behaviour behaviour = Behaviour::hold_until_used;
    Order hint_order = max_order;
    Order report_order = huge_page_order;
    /// What freed pages are filled with, if they are: the host then knows what a discarded page should look like.
    std::optional<std::uint32_t> poison = std::nullopt;
    bool interrupts = false;
    std::uint16_t hint_queue_size = 1024;
    /// Those of them that the device offers are negotiated.
    virtio::FeatureSet features{0b11'1111};
};

template <typename Ring, Transport T>
class BalloonDriver {
public:
    /// What the arena must hold.
    static constexpr ByteCount arena_bytes{1U << 16};

    /// Resets the device and sets it up. Nothing when it refuses. REQUIRES: the three outlive the driver.
    [[nodiscard]] static std::optional<BalloonDriver> start(T& transport, BuddyAllocator& allocator, Arena arena,
                                                            const BalloonOptions& options) {
        const auto negotiated = transport.negotiate(wanted(options));
        if (!negotiated || negotiated->has(virtio::feature::ring_packed) != is_packed)
            return std::nullopt;
        BalloonDriver driver(transport, *negotiated);
        if (!driver.open_queues(allocator, arena, options))
            return std::nullopt;
        if (negotiated->has(balloon::feature::page_poison))
            transport.write_config(balloon_config::poison_value, options.poison.value_or(0));
        transport.start();
        if (driver.statistics_)
            driver.statistics_->start();
        driver.config_changed();
        return driver;
    }

    /// Reads the config space, which the host changed: how large the balloon should be, or the hinting command.
    void config_changed() {
        inflation_->set_target({transport_->read_config(balloon_config::num_pages)});
        if (hinting_)
            hinting_->command(transport_->read_config(balloon_config::hint_command));
    }

    /// Takes what the device has used, and takes each of its jobs one batch further.
    void poll() {
        inflation_->step();
        if (statistics_)
            statistics_->step();
        if (hinting_)
            hinting_->step();
        if (reporting_)
            reporting_->step();
    }

    /// Frees memory, which is short: hinted blocks first, as Linux's shrinker does, then the balloon if the host allows
    /// that. What is freed at once is returned; the balloon's pages come with the next polls.
    PageCount relieve(PageCount pages) {
        const PageCount freed = hinting_ ? hinting_->shrink(pages) : PageCount{};
        if (freed < pages && negotiated_.has(balloon::feature::deflate_on_oom))
            inflation_->give_back(pages - freed);
        return freed;
    }

    [[nodiscard]] virtio::FeatureSet negotiated() const { return negotiated_; }
    [[nodiscard]] Inflation<Ring, T>& inflation() { return *inflation_; }
    [[nodiscard]] std::optional<Hinting<Ring, T>>& hinting() { return hinting_; }
    [[nodiscard]] std::optional<Reporting<Ring, T>>& reporting() { return reporting_; }

private:
    using Queue = Channel<Ring, T>;
    static constexpr bool is_packed = std::is_same_v<Ring, virtio::PackedDriver>;

    BalloonDriver(T& transport, virtio::FeatureSet negotiated)
        : transport_(&transport)
        , negotiated_(negotiated) {}

    /// Bits of the balloon's own from 6 up are contested: never accepted.
    [[nodiscard]] static constexpr virtio::FeatureSet wanted(const BalloonOptions& options) {
        using namespace balloon;
        return virtio::FeatureSet{options.features.bits & 0b11'1111}
            .with(feature::page_poison, options.poison.has_value())
            .with(virtio::feature::version_1)
            .with(virtio::feature::event_index)
            .with(virtio::feature::ring_packed, is_packed);
    }

    [[nodiscard]] bool open_queues(BuddyAllocator& allocator, Arena& arena, const BalloonOptions& options) {
        using namespace balloon;
        const OptionalQueues index(negotiated_);
        typename Queue::Options common{.event_index = negotiated_.has(virtio::feature::event_index),
                                       .interrupts = options.interrupts};
        const HintPolicy policy = policy_of(options.behaviour);

        inflation_ = Inflation<Ring, T>::open(*transport_, allocator, arena, common);
        if (!inflation_)
            return false;
        if (negotiated_.has(feature::statistics)) {
            statistics_ = Statistics<Ring, T>::open(*transport_, allocator, arena, index.statistics, common);
            if (!statistics_)
                return false;
        }
        if (negotiated_.has(feature::free_page_reporting)) {
            const auto channel = Queue::open(*transport_, arena, index.reporting, common);
            if (!channel)
                return false;
            reporting_.emplace(*transport_, allocator, *channel,
                               typename Reporting<Ring, T>::Options{.threshold = options.report_order,
                                                                    .keeps_its_word = policy.reports_are_kept});
        }
        if (negotiated_.has(feature::free_page_hinting)) {
            common.size_limit = options.hint_queue_size;
            const auto queue = HintQueue<Ring, T>::open(*transport_, arena, index.hinting, common);
            if (!queue)
                return false;
            hinting_.emplace(allocator, *queue, policy, options.hint_order);
        }
        return true;
    }

    T* transport_;
    virtio::FeatureSet negotiated_;
    std::optional<Inflation<Ring, T>> inflation_;
    std::optional<Statistics<Ring, T>> statistics_;
    std::optional<Hinting<Ring, T>> hinting_;
    std::optional<Reporting<Ring, T>> reporting_;
};

} // namespace aerate::guestkit
