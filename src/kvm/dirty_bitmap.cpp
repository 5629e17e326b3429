#include "kvm/dirty_bitmap.hpp"

#include "base/log.hpp"
#include "kvm/ioctl.hpp"

#include <algorithm>

namespace aerate {
namespace {

constexpr std::uint64_t pages_per_word = 64;

/// KVM holds its mmu_lock, for which vCPUs with page faults wait, while it clears one slice.
constexpr std::uint64_t words_per_slice = whole_pages_of(ByteCount{128U << 20}).value / pages_per_word;

std::uint64_t words_of(const MemorySlot& slot) {
    return (frames_of(slot).count.value + pages_per_word - 1) / pages_per_word;
}

} // namespace

Result<void> DirtyBitmap::start() {
    std::uint64_t words = 0;
    for (const auto& slot : vm_.slots())
        words = std::max(words, words_of(slot));
    if (words != words_.size()) {
        memory_ = host::zeroed<std::uint64_t>(words);
        words_ = {memory_.get(), memory_ ? words : 0};
        if (memory_ == nullptr)
            return fail_errno("the host has no memory to log what the guest writes");
    }
    if (populated_.size() != guest_.address_space())
        populated_ = TRY(PageBitmap::create(guest_.address_space()));
    for (const MemorySlot slot : vm_.slots())
        if (is_populated(slot))
            TRY(begin(slot));
    return {};
}

Result<void> DirtyBitmap::stop() {
    return vm_.set_dirty_logging(DirtyLogging::off);
}

/// Begins the log of one slot, with nothing in it.
Result<void> DirtyBitmap::begin(const MemorySlot& slot) {
    TRY(vm_.set_memory_region(slot.id, slot.memory, DirtyLogging::on));
    if (vm_.dirty_method() == DirtyMethod::manual_bitmap_sliced) {
        PageBitmap nothing; // the log began with every page in it
        take_slot(slot, nothing);
    }
    return {};
}

bool DirtyBitmap::is_populated(const MemorySlot& slot) {
    if (!guest_.passes_over_holes())
        return true; // the log is cheaper than the look
    guest_.collect_populated(populated_, frames_of(slot));
    return populated_.clear(frames_of(slot)) > PageCount{};
}

void DirtyBitmap::take(PageBitmap& into) {
    for (const MemorySlot slot : vm_.slots()) {
        if (slot.logging == DirtyLogging::on)
            take_slot(slot, into);
        else
            take_unlogged(slot, into);
    }
}

/// Begins the log first: what is written before is populated, and what is written after is in the next take. A slot
/// that KVM does not log is looked at again each time, and all that it holds counts as written.
void DirtyBitmap::take_unlogged(const MemorySlot& slot, PageBitmap& into) {
    if (!is_populated(slot))
        return;
    if (auto begun = begin(slot); !begun)
        log::error("cannot log what the guest writes, assuming all that it has: {}", begun.error().message);
    guest_.collect_populated(into, frames_of(slot));
}

void DirtyBitmap::take_slot(const MemorySlot& slot, PageBitmap& into) {
    const PageRange frames = frames_of(slot);
    kvm_dirty_log log{};
    log.slot = slot.id.value;
    log.dirty_bitmap = words_.data();
    if (auto taken = call_kvm(vm_.fd(), KVM_GET_DIRTY_LOG, "KVM_GET_DIRTY_LOG", &log); !taken) {
        log::error("cannot read which pages the guest wrote, assuming all: {}", taken.error().message);
        into.set(frames);
        return;
    }
    const std::span words = words_.first(words_of(slot));
    // Regions start at multiples of 2 MiB, so a word of the slot is a word of the bitmap.
    for (std::uint64_t index = 0; index < words.size(); ++index)
        if (words[index] != 0)
            into.merge_word(frames.first.value / pages_per_word + index, words[index]);
    if (vm_.dirty_method() != DirtyMethod::eager_bitmap)
        clear(slot, words);
}

/// Clears exactly the bits that were read: any other would hide a write that was not seen. A slice that KVM refuses to
/// clear stays in its log and is taken again.
void DirtyBitmap::clear(const MemorySlot& slot, std::span<std::uint64_t> words) {
    const std::uint64_t pages = frames_of(slot).count.value;
    for (std::uint64_t first = 0; first < words.size(); first += words_per_slice) {
        const auto slice = words.subspan(first, std::min(words_per_slice, words.size() - first));
        if (std::ranges::all_of(slice, [](std::uint64_t word) { return word == 0; }))
            continue;
        kvm_clear_dirty_log log{};
        log.slot = slot.id.value;
        log.first_page = first * pages_per_word;
        log.num_pages =
            static_cast<std::uint32_t>(std::min(slice.size() * pages_per_word, pages - first * pages_per_word));
        log.dirty_bitmap = slice.data();
        if (auto cleared = call_kvm(vm_.fd(), KVM_CLEAR_DIRTY_LOG, "KVM_CLEAR_DIRTY_LOG", &log); !cleared)
            log::error("cannot clear the log of what the guest wrote: {}", cleared.error().message);
    }
}

} // namespace aerate
