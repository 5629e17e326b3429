// Which queue index is which. The spec's table (virtio 1.2, 5.5.2) can be read in three ways, and all three are in use:
//
//     compact     an optional queue's index is its position among the *negotiated* ones: Linux
//     by offer    its position among the *offered* ones: QEMU, Firecracker, crosvm and the drivers that follow them
//     fixed       statistics 2, hinting 3, reporting 4, with holes
//
// They agree when the driver accepts all that was offered. Otherwise the indices that the driver enabled tell which way
// it reads the table.
#pragma once

#include "balloon/features.hpp"
#include "virtio/device.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace aerate::balloon {

enum class Queue : std::uint8_t { inflate, deflate, statistics, hinting, reporting };
inline constexpr std::size_t queue_kinds = 5;

/// By Queue; empty where the queue does not exist.
using QueueLayout = std::array<std::optional<virtio::QueueIndex>, queue_kinds>;

/// A set of queue indices: bit i for index i.
using QueueSet = std::uint32_t;

namespace detail {

struct OptionalQueue {
    Queue queue;
    unsigned feature;
    std::uint16_t fixed_index;
};
inline constexpr std::array<OptionalQueue, 3> optional_queues{{
    {Queue::statistics, feature::statistics, 2},
    {Queue::hinting, feature::free_page_hinting, 3},
    {Queue::reporting, feature::free_page_reporting, 4},
}};

[[nodiscard]] constexpr QueueLayout mandatory_queues() {
    QueueLayout layout;
    layout[0] = virtio::QueueIndex{0};
    layout[1] = virtio::QueueIndex{1};
    return layout;
}

/// Returns the negotiated queues, each at its position among those of `counted`.
[[nodiscard]] constexpr QueueLayout positions_among(virtio::FeatureSet counted, virtio::FeatureSet negotiated) {
    QueueLayout layout = mandatory_queues();
    std::uint16_t next = 2;
    for (const OptionalQueue& optional : optional_queues) {
        if (negotiated.has(optional.feature))
            layout[static_cast<std::size_t>(optional.queue)] = virtio::QueueIndex{next};
        if (counted.has(optional.feature))
            ++next;
    }
    return layout;
}

[[nodiscard]] constexpr QueueLayout fixed_positions(virtio::FeatureSet negotiated) {
    QueueLayout layout = mandatory_queues();
    for (const OptionalQueue& optional : optional_queues)
        if (negotiated.has(optional.feature))
            layout[static_cast<std::size_t>(optional.queue)] = virtio::QueueIndex{optional.fixed_index};
    return layout;
}

[[nodiscard]] constexpr QueueSet indices_of(const QueueLayout& layout) {
    QueueSet set = 0;
    for (const auto& index : layout)
        if (index)
            set |= 1U << index->value;
    return set;
}

} // namespace detail

/// Returns the layout that the driver uses. Queues that it did not enable are empty. REQUIRES: negotiated within
/// offered.
[[nodiscard]] constexpr QueueLayout queue_layout(virtio::FeatureSet offered, virtio::FeatureSet negotiated,
                                                 QueueSet enabled) {
    const QueueLayout compact = detail::positions_among(negotiated, negotiated);
    const QueueLayout by_offer = detail::positions_among(offered, negotiated);
    const QueueLayout fixed = detail::fixed_positions(negotiated);

    // All three keep the order of the queues, so two that have the same indices are the same.
    QueueLayout chosen = compact;
    bool found = false;
    for (const QueueLayout& candidate : {compact, by_offer, fixed}) {
        if (!found && detail::indices_of(candidate) == enabled) {
            chosen = candidate;
            found = true;
        }
    }
    // A driver that also enabled queues which it did not negotiate counts by offer or fixed: compact has no such queue.
    for (const QueueLayout& candidate : {by_offer, fixed}) {
        if (!found && (detail::indices_of(candidate) | enabled) == enabled) {
            chosen = candidate;
            found = true;
        }
    }
    // Not all of a driver's queues, and it could read the table in another way than this: what it hints must not be
    // taken for reports, since those are discarded.
    if (!found && (compact != by_offer || compact != fixed))
        chosen[static_cast<std::size_t>(Queue::reporting)].reset();
    for (auto& index : chosen)
        if (index && ((enabled >> index->value) & 1U) == 0)
            index.reset();
    return chosen;
}

/// Returns, by Queue, every index at which it may be, whatever the driver accepts and however it reads the table.
[[nodiscard]] constexpr std::array<QueueSet, queue_kinds> possible_indices(virtio::FeatureSet offered) {
    std::array<QueueSet, queue_kinds> sets{};
    for (unsigned accepted = 0; accepted < 8; ++accepted) {
        virtio::FeatureSet negotiated;
        for (std::size_t i = 0; i < detail::optional_queues.size(); ++i) {
            const unsigned bit = detail::optional_queues[i].feature;
            negotiated = negotiated.with(bit, ((accepted >> i) & 1U) != 0 && offered.has(bit));
        }
        for (const QueueLayout& layout :
             {detail::positions_among(negotiated, negotiated), detail::positions_among(offered, negotiated),
              detail::fixed_positions(negotiated)})
            for (std::size_t kind = 0; kind < queue_kinds; ++kind)
                if (const auto& index = layout[kind])
                    sets[kind] |= 1U << index->value;
    }
    return sets;
}

} // namespace aerate::balloon
