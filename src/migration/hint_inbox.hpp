// What the guest has hinted and a copy has not looked at: bits that the balloon's thread sets and the copying thread
// takes. A hint costs neither an allocation nor a wake-up; the copy looks when it has a reason to.
#pragma once

#include "base/error.hpp"
#include "memory/page_bitmap.hpp"

#include <atomic>
#include <memory>
#include <utility>

namespace aerate::migration {

class HintInbox {
public:
    /// Fails when the host refuses the memory.
    [[nodiscard]] static Result<std::unique_ptr<HintInbox>> create(PageCount address_space) {
        auto pages = TRY(PageBitmap::create(address_space));
        auto taken = TRY(PageBitmap::create(address_space));
        return std::unique_ptr<HintInbox>(new HintInbox(std::move(pages), std::move(taken)));
    }

    /// Any thread.
    void add(PageRange range) {
        pages_.set(range);
        arrived_.store(true, std::memory_order_release);
    }
    /// Calls visit(range) for each run that has come since the last time. One thread. What comes meanwhile is in this
    /// look or in the next.
    template <typename Visit>
    void take(Visit&& visit) {
        if (!arrived_.exchange(false, std::memory_order_acquire))
            return;
        pages_.move_into(taken_);
        for_each_run(taken_, visit);
        taken_.clear_all();
    }

private:
    HintInbox(PageBitmap pages, PageBitmap taken)
        : pages_(std::move(pages))
        , taken_(std::move(taken)) {}

    PageBitmap pages_;
    PageBitmap taken_;
    std::atomic<bool> arrived_{false};
};

} // namespace aerate::migration
