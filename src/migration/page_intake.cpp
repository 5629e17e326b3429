#include "migration/page_intake.hpp"

#include "migration/delta_frame.hpp"
#include "migration/streams.hpp"

namespace aerate::migration {

PageIntake::PageIntake(GuestMemory& memory, CompressionKinds compression, unsigned streams)
    : memory_(memory)
    , compression_(compression)
    , streams_(streams)
    , in_round_(memory.address_space())
    , written_(memory.address_space()) {}

void PageIntake::begin_round(unsigned number) {
    round_ = number;
    // By region: the last of them may be where the address space ends, with terabytes of nothing before it.
    for (const MappedRegion& region : memory_.regions())
        in_round_.clear({frame_of(region.guest.start), whole_pages_of(region.guest.length)});
}

/// That these may come now, and here.
Result<> PageIntake::expect(PageRange pages, const Lane& lane) {
    if (pages.first.value >= memory_.address_space().value ||
        !memory_.contains(address_of(pages.first), bytes_of(pages.count)))
        return fail("pages {:#x} and {} more are not in the guest's memory", pages.first.value, pages.count.value - 1);
    if (streams_ > 1 &&
        (stream_of(pages.first, streams_) != lane.stream || on_one_stream(pages, streams_).count != pages.count))
        return fail("pages {:#x} and {} more came on stream {}, which is not theirs", pages.first.value,
                    pages.count.value - 1, lane.stream);
    if (in_round_.set(pages) != pages.count)
        return fail("a page came twice in round {}", round_);
    return {};
}

Result<> PageIntake::take_pages(std::span<const std::byte> payload, Lane& lane) {
    const PageFrame frame = TRY(parse_pages(payload, compression_, lane.decoded));
    auto content = frame.content;
    lane.to_zero.clear();
    for (const PageRun& run : frame.runs) {
        TRY(expect(run.pages, lane));
        if (run.kind == PageRun::Kind::zero) {
            lane.zero += run.pages.count;
            if (written_.count(run.pages) > PageCount{})
                lane.to_zero.push_back(run.pages);
            continue;
        }
        const auto length = bytes_of(run.pages.count).value;
        if (!memory_.write(address_of(run.pages.first), content.first(length)))
            return fail("cannot write page {:#x}", run.pages.first.value);
        content = content.subspan(length);
        written_.set(run.pages);
        lane.pages += run.pages.count;
    }
    return make_zero(lane);
}

Result<> PageIntake::take_deltas(std::span<const std::byte> payload, Lane& lane) {
    const auto deltas = TRY(parse_deltas(payload));
    for (const Delta& delta : deltas) {
        TRY(expect({delta.page, {1}}, lane));
        const auto page = memory_.span(address_of(delta.page), page_size);
        if (!written_.test(delta.page) || !page || !apply_delta(delta, *page))
            return fail("page {:#x} came as a difference to something else than what is here", delta.page.value);
        ++lane.deltas.value;
    }
    return {};
}

/// Pages that hold something and should read as zero are given back, so that they cost nothing here either.
Result<> PageIntake::make_zero(Lane& lane) {
    if (lane.to_zero.empty())
        return {};
    PageCount all;
    for (const PageRange& pages : lane.to_zero)
        all += pages.count;
    const bool discarded = memory_.discard(lane.to_zero).discarded == all;
    for (const PageRange& pages : lane.to_zero) {
        // What the host refused to take back, or has in pages that are larger than the guest's.
        for (FrameNumber frame = pages.first; !discarded && frame < pages.end(); ++frame.value)
            if (written_.test(frame) && !memory_.is_zero(frame) &&
                !memory_.fill(address_of(frame), page_size, std::byte{0}))
                return fail("cannot clear page {:#x}", frame.value);
        written_.clear(pages);
    }
    return {};
}

} // namespace aerate::migration
