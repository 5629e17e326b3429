// Fills RAM, frees all of it, and lets reporting tell the host, or a sweep: what a guest's free memory costs, from its
// side.
#include "page_content.hpp"
#include "scripts.hpp"

#include <algorithm>

namespace bubble {
namespace {

void tell(const Guest& guest, std::string_view state) {
    const auto mebibytes = [](PageCount pages) { return bytes_of(pages).value >> 20; };
    guest.console.line("BUBBLE-STATE ", state, " free=", mebibytes(guest.allocator.free_pages()),
                       " reported=", mebibytes(guest.allocator.reported_pages()), " MiB");
}

void fill(const Guest& guest, guestkit::BlockStack& filled) {
    for (guestkit::Order order = guestkit::max_order;; --order.value) {
        while (const auto first = guest.allocator.allocate(order)) {
            write_pages(guestkit::range_of({*first, order}), 1);
            filled.push(*first);
        }
        if (order.value == 0)
            return;
    }
}

} // namespace

void fill_free(const Guest& guest) {
    Transport transport = guest.balloon();
    auto driver = BalloonDriver::start(transport, guest.allocator, guest.make_arena(), guest.balloon_options());
    if (!driver)
        guest.fail("the balloon refused");
    guestkit::BlockStack filled(guest.allocator);
    tell(guest, "started");
    fill(guest, filled);
    tell(guest, "filled");
    while (const auto first = filled.pop())
        guest.allocator.free(*first);
    tell(guest, "freed");

    const std::uint64_t limit = guest.info.number("bubble.seconds", 5);
    Stopwatch watch;
    for (unsigned seconds = 0; seconds < limit;) {
        if ((transport.take_interrupts() & virtio::interrupt_reason::config_change) != 0)
            driver->config_changed();
        driver->poll();
        if (const unsigned now = watch.seconds(); now != seconds) {
            seconds = now;
            tell(guest, "reporting");
        }
    }
    tell(guest, "ended");
}

} // namespace bubble
