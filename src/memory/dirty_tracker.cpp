#include "memory/dirty_tracker.hpp"

#include "base/check.hpp"
#include "base/log.hpp"

#include <utility>

namespace aerate {

DirtyTracker::DirtyTracker(GuestMemory& memory, std::unique_ptr<DirtyLog> vcpus)
    : memory_(memory)
    , vcpus_(std::move(vcpus)) {}

DirtyTracker::~DirtyTracker() {
    CHECK(users_.empty());
}

Result<DirtyTracker::Tracking> DirtyTracker::track() {
    const std::scoped_lock lock(mutex_);
    auto unseen = std::make_unique<PageBitmap>(TRY(PageBitmap::create(memory_.address_space())));
    if (taken_.size() != memory_.address_space())
        taken_ = TRY(PageBitmap::create(memory_.address_space()));
    if (users_.empty())
        TRY(start());
    else
        take_for_all(); // what was written before its time is not for the new one
    users_.push_back(unseen.get());
    return Tracking({unseen.release(), Leave{this}});
}

Result<void> DirtyTracker::start() {
    if (auto started = vcpus_->start(); !started) {
        (void)vcpus_->stop();
        return started;
    }
    memory_.write_log().start();
    return {};
}

/// Stops logging. The user that leaves has all it wanted, so a host that goes on logging is no failure of its work.
void DirtyTracker::stop() {
    memory_.write_log().stop();
    if (auto stopped = vcpus_->stop(); !stopped)
        log::error("cannot stop tracking what the guest writes, which slows it down: {}", stopped.error().message);
}

void DirtyTracker::take(PageBitmap& into) {
    vcpus_->take(into);
    memory_.write_log().take(into);
}

void DirtyTracker::take_for_all() {
    take(taken_);
    for (PageBitmap* const unseen : users_)
        unseen->add(taken_);
    taken_.clear_all();
}

void DirtyTracker::gather(PageBitmap& unseen, PageBitmap& into) {
    const std::scoped_lock lock(mutex_);
    if (users_.size() == 1)
        take(into);
    else
        take_for_all();
    unseen.move_into(into);
}

void DirtyTracker::leave(PageBitmap* unseen) {
    const std::scoped_lock lock(mutex_);
    std::erase(users_, unseen);
    delete unseen;
    if (users_.empty())
        stop();
}

void DirtyTracker::Tracking::gather(PageBitmap& into) {
    CHECK(unseen_ != nullptr);
    unseen_.get_deleter().tracker->gather(*unseen_, into);
}

} // namespace aerate
