#include "kvm/dirty_bitmap.hpp"

#include "base/log.hpp"
#include "kvm/ioctl.hpp"

#include <algorithm>

namespace aerate {
namespace {

std::uint64_t words_of(const MemorySlot& slot) {
    return (whole_pages_of(slot.memory.guest.length).value + 63) / 64;
}

} // namespace

Result<void> DirtyBitmap::start() {
    std::uint64_t words = 0;
    for (const auto& slot : vm_.slots())
        words = std::max(words, words_of(slot));
    words_.assign(words, 0);
    return vm_.set_dirty_logging(DirtyLogging::on);
}

Result<void> DirtyBitmap::stop() {
    return vm_.set_dirty_logging(DirtyLogging::off);
}

void DirtyBitmap::take(PageBitmap& into) {
    for (const auto& slot : vm_.slots())
        if (slot.logging == DirtyLogging::on)
            take_slot(slot, into);
}

void DirtyBitmap::take_slot(const MemorySlot& slot, PageBitmap& into) {
    const FrameNumber first = frame_of(slot.memory.guest.start);
    kvm_dirty_log log{};
    log.slot = slot.id.value;
    log.dirty_bitmap = words_.data();
    if (auto taken = call_kvm(vm_.fd(), KVM_GET_DIRTY_LOG, "KVM_GET_DIRTY_LOG", &log); !taken) {
        log::error("cannot read which pages the guest wrote, assuming all: {}", taken.error().message);
        into.set({first, whole_pages_of(slot.memory.guest.length)});
        return;
    }
    // Regions start at multiples of 2 MiB, so a word of the slot is a word of the bitmap.
    for (std::uint64_t index = 0; index < words_of(slot); ++index)
        if (words_[index] != 0)
            into.merge_word(first.value / 64 + index, words_[index]);
}

} // namespace aerate
