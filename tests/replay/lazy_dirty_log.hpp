// KVM's log as monitors use it that clear it late (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2): it begins with every page in it
// and none write-protected, KVM_GET_DIRTY_LOG only copies it, and KVM_CLEAR_DIRTY_LOG clears and protects afterwards. A
// write to a page that was copied and not cleared yet leaves no new trace. Not for shipping.
#pragma once

#include "base/error.hpp"
#include "kvm/vm.hpp"
#include "memory/page_bitmap.hpp"

#include <cstdint>
#include <vector>

namespace aerate::replay {

/// REQUIRES: `vm` has one memory slot.
class LazyDirtyLog {
public:
    explicit LazyDirtyLog(Vm& vm)
        : vm_(vm) {}
    /// Also gives the VM its log of the shipping kind back.
    ~LazyDirtyLog();
    LazyDirtyLog(const LazyDirtyLog&) = delete;
    LazyDirtyLog& operator=(const LazyDirtyLog&) = delete;

    [[nodiscard]] Result<> start();
    /// Adds what is in the log, and leaves it there.
    [[nodiscard]] Result<> copy(PageBitmap& into);
    /// Clears and write-protects what was copied, in all chunks.
    [[nodiscard]] Result<> clear_copied();

private:
    Result<> set_manual_protection(std::uint64_t flags);

    Vm& vm_;
    std::vector<std::uint64_t> copied_;
};

} // namespace aerate::replay
