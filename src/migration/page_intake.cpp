#include "migration/page_intake.hpp"

#include "migration/streams.hpp"
#include "migration/wire/delta_frame.hpp"

#include <utility>

namespace aerate::migration {
namespace {

/// Each takes up to two of the mappings that a process may have, 65530 unless the host says otherwise
/// (vm.max_map_count).
constexpr unsigned most_huge_stretches = 8192;

constexpr PageCount huge_page = stream_chunk; // what one stream carries of it comes in order

} // namespace

Result<std::unique_ptr<PageIntake>> PageIntake::create(GuestMemory& memory, CompressionKinds compression,
                                                       unsigned streams) {
    std::unique_ptr<PageIntake> intake(new PageIntake(memory, compression, streams));
    intake->in_round_ = TRY(PageBitmap::create(memory.address_space()));
    intake->written_ = TRY(PageBitmap::create(memory.address_space()));
    intake->huge_ = TRY(PageBitmap::create(memory.address_space()));
    memory.use_huge_pages(HugePages::refused, {{0}, memory.address_space()});
    return intake;
}

void PageIntake::finish() {
    memory_.use_huge_pages(HugePages::allowed, {{0}, memory_.address_space()});
}

void PageIntake::begin_round(unsigned number) {
    round_ = number;
    // By region: the last of them may be where the address space ends, with terabytes of nothing before it.
    for (const MappedRegion& region : memory_.regions())
        in_round_.clear({frame_of(region.guest.start), whole_pages_of(region.guest.length)});
}

/// Fails unless these pages may come now, on this lane.
Result<> PageIntake::expect(PageRange pages, const Lane& lane) {
    if (pages.first.value >= memory_.address_space().value ||
        !memory_.contains(address_of(pages.first), bytes_of(pages.count)))
        return fail("pages {:#x} and {} more are not in the guest's memory", pages.first.value, pages.count.value - 1);
    if (streams_ > 1 &&
        (stream_of(pages.first, streams_) != lane.stream || on_one_stream(pages, streams_).count != pages.count))
        return fail("pages {:#x} and {} more came on stream {}, which is the wrong one", pages.first.value,
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
        TRY(put(run.pages, content.first(length), lane));
        content = content.subspan(length);
        lane.pages += run.pages.count;
    }
    return make_zero(lane);
}

Result<> PageIntake::put(PageRange pages, std::span<const std::byte> content, Lane& lane) {
    while (pages.count.value > 0) {
        const std::uint64_t within = pages.first.value % huge_page.value;
        const PageRange chunk{{pages.first.value - within}, huge_page};
        const PageRange part = intersection(pages, chunk);
        const auto bytes = content.first(bytes_of(part.count).value);
        content = content.subspan(bytes.size());
        pages = {part.end(), pages.count - part.count};
        const bool continues = lane.held.count.value > 0 && part.first == lane.held.end();
        if (!continues)
            TRY(end_round(lane));
        const bool begins = !continues && within == 0 && written_.count(chunk) == PageCount{};
        written_.set(part);
        if (!continues && !begins) {
            TRY(write(part, bytes));
            continue;
        }
        lane.held = {chunk.first, lane.held.count + part.count};
        lane.held_content.insert(lane.held_content.end(), bytes.begin(), bytes.end());
        if (lane.held.count < huge_page)
            continue;
        (void)make_huge(chunk);
        TRY(end_round(lane));
    }
    return {};
}

Result<> PageIntake::end_round(Lane& lane) {
    const PageRange pages = std::exchange(lane.held, {});
    if (pages.count.value > 0)
        TRY(write(pages, lane.held_content));
    lane.held_content.clear();
    return {};
}

Result<> PageIntake::write(PageRange pages, std::span<const std::byte> content) {
    if (!memory_.write(address_of(pages.first), content))
        return fail("cannot write page {:#x}", pages.first.value);
    return {};
}

bool PageIntake::make_huge(PageRange chunk) {
    const bool alone = (chunk.first.value == 0 || !huge_.test({chunk.first.value - 1})) && !huge_.test(chunk.end());
    if (alone && huge_stretches_.fetch_add(1) >= most_huge_stretches)
        return false;
    if (!memory_.use_huge_pages(HugePages::allowed, chunk))
        return false;
    huge_.set(chunk);
    return true;
}

Result<> PageIntake::take_deltas(std::span<const std::byte> payload, Lane& lane) {
    const auto deltas = TRY(parse_deltas(payload));
    for (const Delta& delta : deltas) {
        TRY(expect({delta.page, {1}}, lane));
        const auto page = memory_.span(address_of(delta.page), page_size);
        if (!written_.test(delta.page) || !page || !apply_delta(delta, *page))
            return fail("page {:#x} came as a delta against content that is not here", delta.page.value);
        ++lane.deltas.value;
    }
    return {};
}

/// Gives back pages that hold something and should read as zero, so that they cost nothing here either.
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
