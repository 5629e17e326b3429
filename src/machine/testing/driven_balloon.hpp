// A guest's balloon driver for a whole machine, whose vCPUs know none: guestkit's, over the registers of the balloon's
// slot. It goes on when the test says so, which is as good as a vCPU that runs from time to time.
#pragma once

#include "base/check.hpp"
#include "base/endian.hpp"
#include "guestkit/balloon_driver.hpp"
#include "guestkit/mmio_transport.hpp"
#include "machine/hardware.hpp"
#include "virtio/driver_queue.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <vector>

namespace aerate::testing {

/// Main loop, while the balloon's runs.
class DrivenBalloon {
public:
    /// `free` are pages that nobody else in the guest uses.
    DrivenBalloon(Hardware& hardware, PageRange free)
        : transport_({slot_of(hardware), &hardware.memory}, {0})
        , records_(free.count.value)
        , zone_(free, records_, {.min = {64}, .low = {128}}) {
        zone_.add(free);
        const auto arena = allocator_.allocate(arena_order);
        CHECK(arena.has_value());
        driver_ = Driver::start(
            transport_, allocator_,
            guestkit::Arena({transport_.page(*arena), address_of(*arena)}, bytes_of(guestkit::pages_of(arena_order))),
            {});
        CHECK(driver_.has_value());
    }
    DrivenBalloon(const DrivenBalloon&) = delete;
    DrivenBalloon& operator=(const DrivenBalloon&) = delete;
    ~DrivenBalloon() = default;

    void step() {
        if ((transport_.take_interrupts() & virtio::interrupt_reason::config_change) != 0)
            driver_->config_changed();
        driver_->poll();
    }
    [[nodiscard]] PageCount free_pages() const { return allocator_.free_pages(); }

private:
    struct Registers {
        VirtioSlot* slot;
        GuestMemory* memory_of;

        std::uint32_t read(GuestAddress address) {
            std::array<std::byte, 4> bytes{};
            slot->read(address.value, bytes);
            return load_little_endian<std::uint32_t>(bytes);
        }
        void write(GuestAddress address, std::uint32_t value) {
            std::array<std::byte, 4> bytes{};
            store_little_endian(bytes, value);
            slot->write(address.value, bytes);
        }
        std::byte* memory(GuestAddress address) {
            const auto page = memory_of->span(address, page_size);
            CHECK(page.has_value());
            return page->data();
        }
    };
    using Transport = guestkit::MmioTransport<Registers>;
    using Driver = guestkit::BalloonDriver<virtio::SplitDriver, Transport>;

    static VirtioSlot* slot_of(Hardware& hardware) {
        const auto slot = std::ranges::find_if(hardware.slots, [&hardware](const VirtioSlot& candidate) {
            return candidate.device.get() == hardware.balloon;
        });
        CHECK(slot != hardware.slots.end());
        return &*slot;
    }

    static constexpr guestkit::Order arena_order{5};
    Transport transport_;
    std::vector<guestkit::FrameRecord> records_;
    guestkit::Zone zone_;
    guestkit::BuddyAllocator allocator_{{&zone_, 1}};
    std::optional<Driver> driver_;
};

} // namespace aerate::testing
