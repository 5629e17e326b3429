#include "vhost_user/memory_budget.hpp"

namespace aerate::vhost_user {

Result<> MemoryBudget::take(ByteCount more) {
    std::uint64_t used = used_.load();
    do {
        if (const std::uint64_t left = most_.value - used; more.value > left)
            return fail("it takes {} MiB more, and of the {} MiB that {} may have, {} are left; see {}",
                        more.value >> 20, most_.value >> 20, whose_, left >> 20, option_);
    } while (!used_.compare_exchange_weak(used, used + more.value));
    if (!whole_)
        return {};
    auto taken = whole_->take(more);
    if (!taken)
        used_ -= more.value;
    return taken;
}

void MemoryBudget::give_back(ByteCount size) {
    used_ -= size.value;
    if (whole_)
        whole_->give_back(size);
}

Result<> MemoryBudget::Part::grow_to(ByteCount size) {
    if (!budget_ || size <= size_)
        return {};
    if (size > budget_->most_of_a_guest_)
        return fail("the guest's memory ends at {:#x} ({} MiB), and each guest may have {} MiB; see --max-guest-memory",
                    size.value, size.value >> 20, budget_->most_of_a_guest_.value >> 20);
    if (auto taken = budget_->take(size - size_); !taken)
        return fail_because(std::move(taken).error(), "the guest's memory ends at {:#x}", size.value);
    size_ = size;
    return {};
}

void MemoryBudget::Part::shrink_to(ByteCount size) {
    if (!budget_ || size >= size_)
        return;
    budget_->give_back(size_ - size);
    size_ = size;
}

} // namespace aerate::vhost_user
