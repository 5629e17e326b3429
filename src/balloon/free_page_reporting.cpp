#include "balloon/free_page_reporting.hpp"

#include "balloon/chain_access.hpp"

namespace aerate::balloon {

namespace {

/// A batch larger than this is discarded in parts: a buffer may reach over every region of the guest's.
constexpr std::size_t max_ranges = 1U << 12;

} // namespace

std::expected<bool, virtio::RingFault> FreePageReporting::serve(virtio::Virtqueue& queue, ReportedContent content) {
    taken_.clear();
    const auto more = take_chains(queue, queue.size(), [&](const virtio::DescriptorChain& chain) {
        taken_.push_back(chain.id);
        if (content == ReportedContent::poison_value)
            counters_.skip(SkipReason::page_poison);
        else
            take(chain);
    });
    discard();
    // The used length stays 0: a proposal gives it the meaning "initialised by the device", which is not negotiated.
    for (const virtio::ChainId id : taken_)
        queue.complete(id, 0);
    return more;
}

void FreePageReporting::take(const virtio::DescriptorChain& chain) {
    if (!chain.readable.empty())
        counters_.skip(SkipReason::wrong_direction);
    for (const virtio::Buffer& buffer : chain.writable) {
        const PageRange range = whole_pages_inside(buffer.address, ByteCount{buffer.length});
        if (range.count.value == 0) {
            counters_.skip(SkipReason::no_whole_page);
            continue;
        }
        const PageCount inside = for_each_ram_piece(memory_, range, [&](PageRange piece) {
            // Only whole host pages are discarded.
            const std::uint64_t step = whole_pages_of(memory_.host_page_size()).value;
            const std::uint64_t first = (piece.first.value + step - 1) / step * step;
            const std::uint64_t end = piece.end().value / step * step;
            if (first >= end)
                return counters_.skip(SkipReason::no_whole_page);
            const PageRange whole{{first}, {end - first}};
            states_.reported.set(whole);
            if (ranges_.size() == max_ranges)
                discard();
            ranges_.push_back(whole);
        });
        counters_.skip(SkipReason::frame_outside_ram, range.count.value - inside.value);
    }
}

void FreePageReporting::discard() {
    if (ranges_.empty())
        return;
    const DiscardResult result = memory_.discard(ranges_);
    counters_.add(result);
    counters_.reported += result.discarded;
    ranges_.clear();
}

} // namespace aerate::balloon
