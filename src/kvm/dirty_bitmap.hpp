// KVM's own record of the pages that vCPUs wrote, over all memory slots.
#pragma once

#include "base/error.hpp"
#include "kvm/vm.hpp"
#include "memory/dirty_source.hpp"

#include <cstdint>
#include <vector>

namespace aerate {

/// Without KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_GET_DIRTY_LOG clears the log and write-protects its pages again in
/// the same call. That is what the hint rule asks for: after take() every write is in the next log, none is cleared
/// lazily.
class DirtyBitmap final : public DirtyLog {
public:
    /// REQUIRES: `vm` outlives the log, stays where it is, and has all of its slots.
    explicit DirtyBitmap(Vm& vm)
        : vm_(vm) {}

    [[nodiscard]] Result<void> start() override;
    [[nodiscard]] Result<void> stop() override;
    /// Should KVM refuse, the whole slot counts as written: too much is sent, nothing is lost.
    void take(PageBitmap& into) override;

private:
    void take_slot(const MemorySlot&, PageBitmap& into);

    Vm& vm_;
    std::vector<std::uint64_t> words_; ///< of the largest slot
};

} // namespace aerate
