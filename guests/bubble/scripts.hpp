// The workloads, and what they are given.
#pragma once

#include "console.hpp"
#include "guestkit/balloon_driver.hpp"
#include "machine.hpp"
#include "start_info.hpp"

namespace bubble {

using BalloonDriver = guestkit::BalloonDriver<virtio::SplitDriver, Transport>;

struct Guest {
    Console& console;
    const StartInfo& info;
    guestkit::BuddyAllocator& allocator;

    /// Memory for rings, never freed.
    [[nodiscard]] guestkit::Arena make_arena() const {
        const auto frame = allocator.allocate(arena_order);
        if (!frame)
            fail("no memory for rings");
        const GuestAddress address = address_of(*frame);
        return {{memory(address), address}, bytes_of(guestkit::pages_of(arena_order))};
    }
    [[nodiscard]] Transport balloon() const {
        const auto found = Transport::find({}, virtio_slots, guestkit::balloon_device_type);
        if (!found)
            fail("no balloon");
        return *found;
    }
    /// `bubble.driver` and `bubble.order`.
    [[nodiscard]] guestkit::BalloonOptions balloon_options() const {
        const auto behaviour = guestkit::behaviour_named(info.text("bubble.driver", "hold-until-used"));
        if (!behaviour)
            fail("unknown bubble.driver");
        return {.behaviour = *behaviour,
                .hint_order = {static_cast<unsigned>(info.number("bubble.order", guestkit::max_order.value))}};
    }
    [[noreturn]] void fail(std::string_view why) const {
        console.line("BUBBLE-FAILED ", why);
        power_off();
    }

    static constexpr guestkit::Order arena_order{4};
    static_assert(bytes_of(guestkit::pages_of(arena_order)) >= BalloonDriver::arena_bytes);
};

// Each returns when it is done.
void churn(const Guest&);
void fill_free(const Guest&);
void hostile(const Guest&);
void serial_script(const Guest&);

} // namespace bubble
