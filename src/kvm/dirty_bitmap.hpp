// KVM's own record of the pages that vCPUs wrote, as a bitmap for each memory slot.
//
// Logging a slot costs by its size: KVM makes it a bitmap, and fills and copies that each time. So a slot of which no
// page is populated is not logged, where that can be seen at once (Linux 6.7). Whoever writes to it populates a page,
// which the next take sees: it begins the slot's log, and then counts all that is populated there as written. A page
// that was written before the log began is among those; one that has been discarded since is in the log of whoever did.
#pragma once

#include "base/error.hpp"
#include "base/host.hpp"
#include "kvm/vm.hpp"
#include "memory/dirty_source.hpp"
#include "memory/guest_memory.hpp"

#include <cstdint>
#include <memory>
#include <span>

namespace aerate {

/// Eager or manual, as the VM was made: see DirtyMethod. What the hint rule asks for holds for all: after take() every
/// write is in the next log, none is cleared lazily.
class DirtyBitmap final : public DirtyLog {
public:
    /// REQUIRES: `vm` was not made with DirtyMethod::ring, has all of its slots, and they map `memory`; both outlive
    /// the log and stay where they are.
    DirtyBitmap(Vm& vm, const GuestMemory& memory)
        : vm_(vm)
        , guest_(memory) {}

    [[nodiscard]] Result<void> start() override;
    [[nodiscard]] Result<void> stop() override;
    /// Takes the log. If KVM refuses, the whole slot counts as written: too much is sent, nothing is lost.
    void take(PageBitmap& into) override;

private:
    [[nodiscard]] Result<void> begin(const MemorySlot&);
    [[nodiscard]] bool is_populated(const MemorySlot&);
    void take_unlogged(const MemorySlot&, PageBitmap& into);
    void take_slot(const MemorySlot&, PageBitmap& into);
    void clear(const MemorySlot&, std::span<std::uint64_t> words);

    Vm& vm_;
    const GuestMemory& guest_;
    PageBitmap populated_; ///< empty between calls
    std::unique_ptr<std::uint64_t[], host::FreeMemory> memory_;
    std::span<std::uint64_t> words_; ///< of the largest slot
};

} // namespace aerate
