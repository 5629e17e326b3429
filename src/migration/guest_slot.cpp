#include "migration/guest_slot.hpp"

#include <utility>

namespace aerate::migration {

Result<> GuestSlot::claim(Candidate& candidate) {
    std::unique_lock lock(mutex_);
    if (holder_ != nullptr && !closed_ && !leaving_ && holder_->idle() > patience_) {
        leaving_ = true;
        holder_->evict();
    }
    const auto free = [this] { return holder_ == nullptr && !busy_; };
    if (leaving_ || busy_)
        changed_.wait_for(lock, eviction_limit_, [&] { return closed_ || free(); });
    if (!free() || closed_)
        return fail("another guest is on its way here");
    holder_ = &candidate;
    return {};
}

bool GuestSlot::leave(const Candidate& candidate) {
    const std::lock_guard lock(mutex_);
    if (holder_ != &candidate)
        return false;
    holder_ = nullptr;
    leaving_ = false;
    changed_.notify_all();
    return true;
}

void GuestSlot::reject(Candidate& candidate) {
    const std::lock_guard lock(mutex_);
    if (holder_ != &candidate)
        candidate.evict();
}

bool GuestSlot::is_holder(const Candidate& candidate) const {
    const std::lock_guard lock(mutex_);
    return holder_ == &candidate;
}

bool GuestSlot::taken() const {
    const std::lock_guard lock(mutex_);
    return holder_ != nullptr;
}

void GuestSlot::set_busy(bool busy) {
    const std::lock_guard lock(mutex_);
    busy_ = busy;
    changed_.notify_all();
}

GuestSlot::Candidate* GuestSlot::close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
    return holder_;
}

bool GuestSlot::closed() const {
    const std::lock_guard lock(mutex_);
    return closed_;
}

} // namespace aerate::migration
