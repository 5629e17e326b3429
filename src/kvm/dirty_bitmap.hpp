// KVM's own record of the pages that vCPUs wrote, as a bitmap for each memory slot.
#pragma once

#include "base/error.hpp"
#include "base/host.hpp"
#include "kvm/vm.hpp"
#include "memory/dirty_source.hpp"

#include <cstdint>
#include <memory>
#include <span>

namespace aerate {

/// Eager or manual, as the VM was made: see DirtyMethod. What the hint rule asks for holds for all: after take() every
/// write is in the next log, none is cleared lazily.
class DirtyBitmap final : public DirtyLog {
public:
    /// REQUIRES: `vm` was not made with DirtyMethod::ring, outlives the log, stays where it is, and has all of its
    /// slots.
    explicit DirtyBitmap(Vm& vm)
        : vm_(vm) {}

    [[nodiscard]] Result<void> start() override;
    [[nodiscard]] Result<void> stop() override;
    /// Takes the log. If KVM refuses, the whole slot counts as written: too much is sent, nothing is lost.
    void take(PageBitmap& into) override;

private:
    void take_slot(const MemorySlot&, PageBitmap& into);
    void clear(const MemorySlot&, std::span<std::uint64_t> words);

    Vm& vm_;
    std::unique_ptr<std::uint64_t[], host::FreeMemory> memory_;
    std::span<std::uint64_t> words_; ///< of the largest slot
};

} // namespace aerate
