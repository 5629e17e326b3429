// What a monitor does with hints, one step of a schedule at a time. The shipping ones are in shipping_uses.hpp, those
// with bugs in naive_uses.hpp.
#pragma once

#include "base/error.hpp"
#include "memory/hints.hpp"
#include "prove/hint_model.hpp"
#include "schedule_pages.hpp"

#include <cstdint>

namespace aerate::replay {

class HintUse : public HintSink {
public:
    HintUse(SteppedMonitor& monitor, SchedulePages& pages)
        : monitor_(monitor)
        , pages_(pages) {}
    virtual ~HintUse() = default;
    HintUse(const HintUse&) = delete;
    HintUse& operator=(const HintUse&) = delete;

    /// Up to where the model starts.
    [[nodiscard]] virtual Result<> start() = 0;
    /// A step of the monitor's. One that this use does not have does nothing.
    [[nodiscard]] virtual Result<> step(prove::HintAction, unsigned page) = 0;
    /// From wherever the schedule ends to a guest that runs: here, or, for a migration or a snapshot, on what the copy
    /// has.
    [[nodiscard]] virtual Result<> finish() = 0;
    /// A device has put data into the frame.
    virtual void completed(FrameNumber frame) { monitor_.memory.wrote(address_of(frame), page_size); }

    /// The balloon's sink. Counts, and passes on.
    void hinted(PageRange range) final {
        accepted_ += range.count;
        use(range);
    }
    /// Pages hinted under the current ID.
    [[nodiscard]] PageCount accepted() const { return accepted_; }
    /// Pages that a hint saved from being copied, or gave back to the host.
    [[nodiscard]] PageCount saved() const { return saved_; }

protected:
    virtual void use(PageRange) = 0;

    /// The engines take the lowest page first; the schedule says which that is. False when the page is not among them.
    template <typename Step>
    bool with_page_first(PageBitmap& pages, unsigned page, Step&& step) {
        const PageRange range = pages_.range(page);
        if (!pages.test(range.first))
            return false;
        PageBitmap others(pages.size());
        others.add(pages);
        others.clear(range);
        pages.remove(others);
        step();
        pages.add(others);
        return true;
    }

    SteppedMonitor& monitor_;
    SchedulePages& pages_;
    PageCount saved_;

private:
    PageCount accepted_;
};

} // namespace aerate::replay
