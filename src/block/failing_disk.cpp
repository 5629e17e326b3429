// What becomes of a request that the host's disk fails: an error for the guest, or it is held and tried again.
#include "base/check.hpp"
#include "base/log.hpp"
#include "block/block.hpp"

#include <fmt/format.h>

#include <utility>

namespace aerate {

void Block::disk_failed(std::uint64_t index, int code) {
    constexpr std::chrono::seconds pause{1};
    static log::GuestLogLimit limit;
    if (image_->on_error() != OnDiskError::pause) {
        if (limit.allow())
            log::warning("{} ({}): {}; the guest gets an I/O error", image_->label(), image_->path(),
                         describe_errno(code));
        return finish(index, BlockStatus::io_error);
    }
    disk_error_ = code;
    if (!std::exchange(slots_[index].held, true)) {
        ++counters_.held;
        if (++held_ == 1 && limit.allow())
            log::warning("{}", trouble());
    }
    failed_.push_back(index);
    if (!try_again_.active())
        try_again_ = loop_.after(pause, [this] { try_failed_again(); });
}

/// Not before it is answered: some of a request may succeed, and other requests may, while the rest finds no room.
void Block::no_longer_held(Slot& slot) {
    if (!std::exchange(slot.held, false) || --held_ > 0)
        return;
    static log::GuestLogLimit limit;
    if (limit.allow())
        log::info("{} ({}): no request waits for it any more", image_->label(), image_->path());
}

void Block::try_failed_again() {
    try_again_.cancel();
    for (const std::uint64_t index : std::exchange(failed_, {}))
        advance(index);
    flush_engine();
}

std::string Block::trouble() const {
    CHECK(loop_.owned_here());
    if (held_ == 0)
        return {};
    return fmt::format("{} ({}): {}; {} of the guest's requests wait{} and {} tried again each second", image_->label(),
                       image_->path(), describe_errno(disk_error_), held_, held_ == 1 ? "s" : "",
                       held_ == 1 ? "is" : "are");
}

} // namespace aerate
