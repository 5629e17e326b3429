#include "schedule_pages.hpp"

#include "bubble/page_content.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace aerate::replay {

SchedulePages::SchedulePages(SteppedMonitor& monitor, std::vector<FrameNumber> frames)
    : monitor_(monitor)
    , frames_(std::move(frames))
    , newest_(frames_.size())
    , disk_(frames_.size()) {
    std::ranges::sort(frames_);
    for (unsigned page = 0; page < frames_.size(); ++page) {
        const PageRange hole = range(page);
        monitor_.memory.discard({&hole, 1});
    }
}

std::size_t SchedulePages::page_of(FrameNumber frame) const {
    return static_cast<std::size_t>(std::ranges::find(frames_, frame) - frames_.begin());
}

Result<> SchedulePages::write(unsigned page) {
    TRY(monitor_.tell(fmt::format("write {} {}", frames_[page].value, ++newest_[page])));
    return {};
}

Result<> SchedulePages::clear(unsigned page) {
    TRY(write(page));
    const auto bytes = monitor_.memory.span(address_of(frames_[page]), page_size);
    if (!bytes)
        return fail("frame {} is not RAM", frames_[page].value);
    std::ranges::fill(*bytes, std::byte{});
    return {};
}

Result<std::string> SchedulePages::verify(unsigned page) {
    return monitor_.ask(fmt::format("verify {} {}", frames_[page].value, newest_[page]));
}

Result<> SchedulePages::land(unsigned page) {
    const auto bytes = monitor_.memory.span(address_of(frames_[page]), page_size);
    if (!bytes)
        return fail("frame {} is not RAM", frames_[page].value);
    const std::uint64_t content = bubble::content_of(frames_[page], ++newest_[page]);
    const std::uint64_t check = bubble::check_of(content);
    std::memcpy(bytes->data(), &content, sizeof content);
    std::memcpy(bytes->data() + sizeof content, &check, sizeof check);
    std::memcpy(bytes->data() + bubble::last_word * sizeof content, &content, sizeof content);
    disk_[page] = Buffer::filled;
    return {};
}

Result<> SchedulePages::drain(const std::function<void(FrameNumber)>& completed) {
    for (unsigned page = 0; page < frames_.size(); ++page) {
        if (disk_[page] == Buffer::lent)
            TRY(land(page));
        if (std::exchange(disk_[page], Buffer::none) != Buffer::none)
            completed(frames_[page]);
    }
    return {};
}

} // namespace aerate::replay
