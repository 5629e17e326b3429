// An allocator of frames over one or several zones.
//
//     Zone zone({first, count}, records, {.min = {256}, .low = {512}});
//     zone.add({first, count});
//     BuddyAllocator allocator({&zone, 1});
//     if (const auto frame = allocator.allocate(Order{0})) ... allocator.free(*frame);
#pragma once

#include "guestkit/zone.hpp"

#include <cstddef>
#include <optional>
#include <span>

namespace aerate::guestkit {

class BuddyAllocator {
public:
    /// Earlier zones are preferred. REQUIRES: they outlive this, and do not overlap.
    explicit BuddyAllocator(std::span<Zone> zones)
        : zones_(zones) {}

    [[nodiscard]] std::optional<FrameNumber> allocate(Order order) {
        for (Zone& zone : zones_)
            if (const auto frame = zone.allocate(order))
                return frame;
        return std::nullopt;
    }
    /// Allocates for a use that can be done without: leaves each zone its reserve.
    [[nodiscard]] std::optional<FrameNumber> allocate_spare(Order order) {
        for (Zone& zone : zones_)
            if (const auto frame = zone.allocate(order, zone.watermarks().min))
                return frame;
        return std::nullopt;
    }
    bool free(FrameNumber first) {
        Zone* const zone = zone_of(first);
        return zone != nullptr && zone->free(first);
    }

    /// Blocks of one zone, so that each zone's watermark counts for itself.
    [[nodiscard]] std::size_t isolate_unreported(Order threshold, std::span<Block> into) {
        for (Zone& zone : zones_)
            if (const std::size_t count = zone.isolate_unreported(threshold, into))
                return count;
        return 0;
    }
    bool put_back(FrameNumber first, Mark mark) {
        Zone* const zone = zone_of(first);
        return zone != nullptr && zone->put_back(first, mark);
    }

    /// Returns the order of the block that is allocated and begins there.
    [[nodiscard]] std::optional<Order> allocated_order(FrameNumber first) {
        Zone* const zone = zone_of(first);
        if (zone == nullptr || zone->record(first).state != FrameRecord::State::allocated)
            return std::nullopt;
        return Order{zone->record(first).order};
    }

    /// Returns null when the frame is in no zone.
    [[nodiscard]] Zone* zone_of(FrameNumber frame) {
        for (Zone& zone : zones_)
            if (zone.contains(frame))
                return &zone;
        return nullptr;
    }
    [[nodiscard]] std::span<Zone> zones() { return zones_; }

    [[nodiscard]] PageCount managed_pages() const { return sum(&Zone::managed_pages); }
    [[nodiscard]] PageCount free_pages() const { return sum(&Zone::free_pages); }
    [[nodiscard]] PageCount reported_pages() const { return sum(&Zone::reported_pages); }

private:
    [[nodiscard]] PageCount sum(PageCount (Zone::*pages)() const) const {
        PageCount total;
        for (const Zone& zone : zones_)
            total += (zone.*pages)();
        return total;
    }

    std::span<Zone> zones_;
};

} // namespace aerate::guestkit
