// KVM's other record of the pages that vCPUs wrote: a ring of page numbers for each vCPU, shared with the kernel
// (Documentation/virt/kvm/api.rst, "KVM_CAP_DIRTY_LOG_RING"). Taking it costs by what was written, not by the size of
// the guest.
//
// An entry goes through three states: KVM marks it DIRTY, the monitor reads it and marks it RESET, and
// KVM_RESET_DIRTY_RINGS protects its page and frees the entry. A page that is read after that has all that was written
// before it.
//
// A vCPU whose ring is nearly full leaves KVM_RUN until there is room. Its own thread makes that, into a bitmap which
// the next take finds. So this is where vCPU threads and the taker meet: the lock of DirtyRings is held for one pass
// over the rings and the reset, which the kernel serialises anyway (kvm->slots_lock).
//
// Two things can go wrong in the kernel. A KVM that emulates instruction by instruction does not look at the ring often
// enough and overruns it (seen with KVM on PVM, Linux 6.18; to the kernel that "should never" be): such a KVM is
// refused by check_offered(). And from Linux 6.16 on a pending signal ends KVM_RESET_DIRTY_RINGS early, which forgets
// to protect the pages that it was about to (virt/kvm/dirty_ring.c, kvm_dirty_ring_reset): then everything counts as
// written, and all of it is armed anew.
//
// With PML (VMX) a running vCPU's last writes, 512 at most, are on their way into the ring; they get there when it next
// leaves the guest. Such a write is in a later take, so counts as younger than it is: hints lose by it, the guest does
// not. When the vCPUs are at rest the take is complete.
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"
#include "kvm/vm.hpp"
#include "memory/dirty_source.hpp"

#include <linux/kvm.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

namespace aerate {

/// One vCPU's ring. Not thread-safe.
class DirtyRing {
public:
    /// 4096 entries. KVM keeps 576 free for what PML and one exit may add.
    static constexpr ByteCount length{4096 * sizeof(kvm_dirty_gfn)};

    /// REQUIRES: a power of two of entries, which outlive the ring.
    explicit DirtyRing(std::span<kvm_dirty_gfn> entries)
        : entries_(entries) {}

    /// Calls visit(slot, offset) for each entry that KVM has filled since, and marks it as read. Returns how many: no
    /// more than the ring has, since none is free again before the reset.
    template <typename Visit>
    std::uint32_t harvest(Visit&& visit);
    /// Returns whether KVM filled every entry, though it keeps some free: it may have overwritten entries that nobody
    /// had read.
    [[nodiscard]] bool overrun() const { return overrun_; }

private:
    std::span<kvm_dirty_gfn> entries_;
    std::uint32_t next_ = 0; ///< wraps, as KVM's own indices do
    bool overrun_ = false;
};

/// All rings of a VM. Any thread.
class DirtyRings {
public:
    /// REQUIRES: the rings were enabled before any vCPU was made; each vCPU is added before logging starts.
    explicit DirtyRings(int vm_fd)
        : vm_fd_(vm_fd) {}
    ~DirtyRings();
    DirtyRings(const DirtyRings&) = delete;
    DirtyRings& operator=(const DirtyRings&) = delete;

    [[nodiscard]] Result<void> add(int vcpu_fd);
    /// Forgets what was logged before.
    [[nodiscard]] Result<void> begin(std::span<const MemorySlot>);
    /// Returns false if some writes were missed since the last take, and some pages are not armed.
    [[nodiscard]] bool take(PageBitmap& into);
    /// Empties the rings, after KVM_EXIT_DIRTY_RING_FULL and before that vCPU runs on.
    [[nodiscard]] Result<void> make_room();

private:
    void harvest();
    [[nodiscard]] Result<void> reset();

    int vm_fd_;
    std::mutex mutex_;
    std::vector<std::span<kvm_dirty_gfn>> mapped_;
    std::vector<DirtyRing> rings_;
    std::vector<MemorySlot> slots_;
    PageBitmap written_;          ///< read from the rings, not taken yet
    std::uint64_t harvested_ = 0; ///< entries, which KVM has yet to reset
    bool complete_ = true;        ///< no write was missed
};

class DirtyRingLog final : public DirtyLog {
public:
    /// REQUIRES: `vm` was made with DirtyMethod::ring, outlives the log, stays where it is, and has all of its slots.
    explicit DirtyRingLog(Vm& vm)
        : vm_(vm) {}
    [[nodiscard]] Result<void> start() override;
    [[nodiscard]] Result<void> stop() override;
    void take(PageBitmap& into) override;

private:
    [[nodiscard]] Result<void> arm_everything();

    Vm& vm_;
    bool armed_ = true;
};

template <typename Visit>
std::uint32_t DirtyRing::harvest(Visit&& visit) {
    std::uint32_t count = 0;
    for (; count < entries_.size(); ++count, ++next_) {
        kvm_dirty_gfn& entry = entries_[next_ % entries_.size()];
        const std::atomic_ref flags(entry.flags);
        if (flags.load(std::memory_order_acquire) != KVM_DIRTY_GFN_F_DIRTY)
            break;
        visit(entry.slot, entry.offset);
        flags.store(KVM_DIRTY_GFN_F_RESET, std::memory_order_release);
    }
    overrun_ = overrun_ || count == entries_.size();
    return count;
}

} // namespace aerate
