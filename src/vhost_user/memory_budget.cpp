#include "vhost_user/memory_budget.hpp"

namespace aerate::vhost_user {

Result<> MemoryBudget::Part::grow_to(ByteCount size) {
    if (!budget_ || size <= size_)
        return {};
    if (size > budget_->most_of_a_guest_)
        return fail("the guest's memory ends at {:#x} ({} MiB), and each guest may have {} MiB; see --max-guest-memory",
                    size.value, size.value >> 20, budget_->most_of_a_guest_.value >> 20);
    const std::uint64_t more = (size - size_).value;
    std::uint64_t used = budget_->used_.load();
    do {
        if (const std::uint64_t left = budget_->most_.value - used; more > left)
            return fail("the guest's memory ends at {:#x}: of the {} MiB that all guests together may have, {} are "
                        "left for it; see --max-memory",
                        size.value, budget_->most_.value >> 20, (left + size_.value) >> 20);
    } while (!budget_->used_.compare_exchange_weak(used, used + more));
    size_ = size;
    return {};
}

void MemoryBudget::Part::shrink_to(ByteCount size) {
    if (!budget_ || size >= size_)
        return;
    budget_->used_ -= (size_ - size).value;
    size_ = size;
}

} // namespace aerate::vhost_user
