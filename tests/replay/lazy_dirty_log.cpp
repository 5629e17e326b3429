#include "lazy_dirty_log.hpp"

#include "kvm/ioctl.hpp"

#include <algorithm>

namespace aerate::replay {

LazyDirtyLog::~LazyDirtyLog() {
    (void)vm_.set_dirty_logging(DirtyLogging::off);
    (void)set_manual_protection(0);
}

Result<> LazyDirtyLog::set_manual_protection(std::uint64_t flags) {
    kvm_enable_cap enable{};
    enable.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2;
    enable.args[0] = flags;
    TRY(call_kvm(vm_.fd(), KVM_ENABLE_CAP, "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2", &enable));
    return {};
}

Result<> LazyDirtyLog::start() {
    TRY(set_manual_protection(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET));
    const PageCount pages = whole_pages_of(vm_.slots().front().memory.guest.length);
    copied_.assign((pages.value + 63) / 64, 0);
    return vm_.set_dirty_logging(DirtyLogging::on);
}

Result<> LazyDirtyLog::copy(PageBitmap& into) {
    const MemorySlot& slot = vm_.slots().front();
    kvm_dirty_log log{};
    log.slot = slot.id.value;
    log.dirty_bitmap = copied_.data();
    TRY(call_kvm(vm_.fd(), KVM_GET_DIRTY_LOG, "KVM_GET_DIRTY_LOG", &log));
    for (std::size_t index = 0; index < copied_.size(); ++index)
        into.merge_word(frame_of(slot.memory.guest.start).value / 64 + index, copied_[index]);
    return {};
}

Result<> LazyDirtyLog::clear_copied() {
    const MemorySlot& slot = vm_.slots().front();
    kvm_clear_dirty_log clear{};
    clear.slot = slot.id.value;
    clear.num_pages = static_cast<std::uint32_t>(whole_pages_of(slot.memory.guest.length).value);
    clear.dirty_bitmap = copied_.data();
    TRY(call_kvm(vm_.fd(), KVM_CLEAR_DIRTY_LOG, "KVM_CLEAR_DIRTY_LOG", &clear));
    // Cleared a second time, it would hide writes that nobody has seen.
    std::ranges::fill(copied_, 0);
    return {};
}

} // namespace aerate::replay
