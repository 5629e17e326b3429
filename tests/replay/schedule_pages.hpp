// The pages A, B, ... of a schedule: frames of the guest's, what was last written to each, and a disk that can write
// to them behind KVM's back. The disk is the test itself.
#pragma once

#include "base/error.hpp"
#include "memory/page_bitmap.hpp"
#include "stepped_monitor.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace aerate::replay {

class SchedulePages {
public:
    /// Ascending, as the protocol takes pages in the order of their frames. They begin as holes that read as zero.
    SchedulePages(SteppedMonitor& monitor, std::vector<FrameNumber> frames);

    [[nodiscard]] const std::vector<FrameNumber>& frames() const { return frames_; }
    [[nodiscard]] PageRange range(unsigned page) const { return {frames_[page], {1}}; }
    /// Which page the frame is; frames() when none.
    [[nodiscard]] std::size_t page_of(FrameNumber) const;

    /// A vCPU writes to the page.
    [[nodiscard]] Result<> write(unsigned page);
    /// The guest clears the page. Bubble has no command for that, so a vCPU writes to it, and the test wipes it behind
    /// KVM's back.
    [[nodiscard]] Result<> clear(unsigned page);
    /// "ok", or what the guest finds instead of what was last written.
    [[nodiscard]] Result<std::string> verify(unsigned page);

    // The disk. The page is the buffer of a read; the data goes into it; the read is complete.
    void lend(unsigned page) { disk_[page] = Buffer::lent; }
    [[nodiscard]] Result<> land(unsigned page);
    void complete(unsigned page) { disk_[page] = Buffer::none; }
    [[nodiscard]] bool is_in_flight(unsigned page) const { return disk_[page] != Buffer::none; }
    /// Ends what is in flight, and calls back for each page of it.
    [[nodiscard]] Result<> drain(const std::function<void(FrameNumber)>& completed);

private:
    enum class Buffer : std::uint8_t { none, lent, filled };

    SteppedMonitor& monitor_;
    std::vector<FrameNumber> frames_;
    std::vector<std::uint32_t> newest_; ///< sequence numbers
    std::vector<Buffer> disk_;
};

} // namespace aerate::replay
