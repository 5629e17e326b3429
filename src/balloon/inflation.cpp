#include "balloon/inflation.hpp"

#include "balloon/chain_access.hpp"
#include "balloon/host_pages.hpp"
#include "base/endian.hpp"

#include <algorithm>
#include <array>

namespace aerate::balloon {

namespace {

constexpr std::size_t frame_bytes = 4;
constexpr std::size_t chunk_frames = 1024;
/// A batch larger than this is applied in parts, so that no guest decides how much memory the monitor needs for it.
constexpr std::size_t max_runs = 1U << 14;
/// Chains are batched until they hold this many PFNs, so that the loop gets its turn.
constexpr std::uint64_t max_turn_frames = 1U << 16;

} // namespace

Inflation::Inflation(GuestMemory& memory, PageStates& states, Counters& counters)
    : memory_(memory)
    , states_(states)
    , counters_(counters) {}

std::expected<bool, virtio::RingFault> Inflation::inflate(virtio::Virtqueue& queue, bool driver_tells_first) {
    return serve(queue, [&] { inflate_runs(driver_tells_first); });
}

std::expected<bool, virtio::RingFault> Inflation::deflate(virtio::Virtqueue& queue) {
    return serve(queue, [&] { deflate_runs(); });
}

void Inflation::restore(std::span<const PageRange> ballooned) {
    for (const PageRange& range : ballooned)
        ballooned_ += states_.ballooned.set(range);
}

void Inflation::reset() {
    states_.ballooned.clear_all();
    ballooned_ = {};
}

template <typename Apply>
std::expected<bool, virtio::RingFault> Inflation::serve(virtio::Virtqueue& queue, Apply apply) {
    const std::uint16_t ring = queue.size();
    std::expected<bool, virtio::RingFault> more = true;
    std::uint64_t frames = 0;
    taken_.clear();
    while (more && *more && taken_.size() < ring && frames < max_turn_frames) {
        more = take_chains(queue, 1, [&](const virtio::DescriptorChain& chain) {
            taken_.push_back(chain.id);
            frames += total_length(chain.readable).value / frame_bytes;
            read_frames(chain, apply);
        });
    }
    apply();
    // Virtio 1.2, 5.5.6.1: the device may touch a page until it acknowledges its PFN, and no longer.
    for (const virtio::ChainId id : taken_)
        queue.complete(id, 0);
    return more;
}

template <typename Apply>
void Inflation::read_frames(const virtio::DescriptorChain& chain, Apply& apply) {
    if (!chain.writable.empty())
        counters_.skip(SkipReason::wrong_direction);
    const ByteCount length = total_length(chain.readable);
    if (length.value == 0 || length.value % frame_bytes != 0)
        return counters_.skip(SkipReason::bad_length);
    if (length.value > max_chain_frames * frame_bytes)
        return counters_.skip(SkipReason::oversized);

    BufferReader reader(memory_, chain.readable);
    std::array<std::byte, chunk_frames * frame_bytes> chunk;
    while (true) {
        const auto bytes = reader.read(chunk);
        if (!bytes)
            return counters_.skip(SkipReason::buffer_outside_ram);
        if (*bytes == 0)
            return;
        const std::span<const std::byte> frames{chunk.data(), *bytes};
        for (std::size_t at = 0; at < frames.size(); at += frame_bytes) {
            if (runs_.size() == max_runs)
                apply();
            add_frame({load_little_endian<std::uint32_t>(frames.subspan(at))});
        }
    }
}

/// Guests mostly send their pages in ascending or descending order.
void Inflation::add_frame(FrameNumber frame) {
    if (!runs_.empty()) {
        PageRange& run = runs_.back();
        if (frame >= run.first && frame < run.end())
            return;
        if (frame == run.end()) {
            ++run.count.value;
            return;
        }
        if (frame.value + 1 == run.first.value) {
            run = {frame, {run.count.value + 1}};
            return;
        }
    }
    runs_.push_back({frame, {1}});
}

void Inflation::join_runs() {
    std::ranges::sort(runs_, {}, &PageRange::first);
    std::size_t last = 0;
    for (std::size_t i = 1; i < runs_.size(); ++i) {
        PageRange& before = runs_[last];
        if (runs_[i].first <= before.end())
            before.count.value = std::max(before.end(), runs_[i].end()).value - before.first.value;
        else
            runs_[++last] = runs_[i];
    }
    if (!runs_.empty())
        runs_.resize(last + 1);

    pieces_.clear();
    for (const PageRange& run : runs_) {
        const PageCount inside = for_each_ram_piece(memory_, run, [&](PageRange piece) { pieces_.push_back(piece); });
        counters_.skip(SkipReason::frame_outside_ram, run.count.value - inside.value);
    }
    runs_.clear();
}

void Inflation::inflate_runs(bool driver_tells_first) {
    join_runs();
    for (const PageRange& piece : pieces_) {
        const PageCount fresh = states_.ballooned.set(piece);
        states_.reported.clear(piece);
        ballooned_ += fresh;
        counters_.inflated += fresh;
    }
    if (driver_tells_first && memory_.host_page_size() > page_size)
        pieces_ = complete_host_pages(pieces_, states_.ballooned, whole_pages_of(memory_.host_page_size()));
    if (!pieces_.empty())
        counters_.add(memory_.discard(pieces_));
}

void Inflation::deflate_runs() {
    join_runs();
    for (const PageRange& piece : pieces_) {
        const PageCount taken_back = states_.ballooned.clear(piece);
        ballooned_ -= taken_back;
        counters_.deflated += taken_back;
    }
}

} // namespace aerate::balloon
