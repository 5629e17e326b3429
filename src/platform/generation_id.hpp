// The number by which a guest finds out that it is a copy (VMGENID): 16 random bytes in its memory, which the ACPI
// tables say where to find. Linux mixes a new one into its random numbers at once, before copies can draw the same.
//
// There is a new one whenever the guest goes on from a snapshot, and at its boot; a guest that has moved, or was
// paused, is the same one, and keeps it.
#pragma once

#include "base/error.hpp"
#include "event/event_fd.hpp"
#include "memory/guest_memory.hpp"

#include <cstddef>

namespace aerate {

class GenerationId {
public:
    static constexpr std::size_t size = 16;

    [[nodiscard]] static Result<GenerationId> create(GuestMemory& memory, GuestAddress where) {
        return GenerationId(memory, where, TRY(EventFd::create()));
    }

    /// Puts a new one there. Fails if there is no RAM.
    [[nodiscard]] Result<> renew();
    /// Tells the guest. One whose driver does not listen yet has its line masked, and reads the number when it does.
    void notify() const { interrupt_.signal(); }
    [[nodiscard]] const EventFd& interrupt() const { return interrupt_; }

private:
    GenerationId(GuestMemory& memory, GuestAddress where, EventFd interrupt)
        : memory_(&memory)
        , where_(where)
        , interrupt_(std::move(interrupt)) {}

    GuestMemory* memory_;
    GuestAddress where_;
    EventFd interrupt_;
};

} // namespace aerate
