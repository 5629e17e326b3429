// Which file holds which page, over a chain of diffs.
#include "snapshot/chunk_digest.hpp"
#include "snapshot/snapshot.hpp"

#include <algorithm>
#include <array>

namespace aerate::snapshot {
namespace {

/// Returns whether the second goes on in the file as it does in memory.
bool aligned(const FilePiece& a, const FilePiece& b) {
    return a.fd == b.fd && b.pages.first.value - a.pages.first.value == whole_pages_of(b.offset - a.offset).value;
}

/// What a chunk looks like through the chain.
struct MergedChunk {
    std::array<int, chunk_pages> owner; ///< a descriptor; -1: zero
    PageSet decided;
    PageSet stale; ///< data in a file, but no longer in a later one
};

void put_beneath(MergedChunk& merged, const Chunk& chunk, int fd) {
    for (unsigned page = 0; page < chunk_pages; ++page) {
        if (chunk.data.test(page) && !merged.decided.test(page))
            merged.owner[page] = fd;
    }
    for (unsigned i = 0; i < PageSet::word_count; ++i) {
        merged.stale.words[i] |= chunk.data.words[i] & merged.decided.words[i];
        merged.decided.words[i] |= chunk.data.words[i] | chunk.zero.words[i];
    }
}

} // namespace

/// Returns those that any file of the chain mentions, ascending.
std::vector<std::uint32_t> Snapshot::chunk_indices() const {
    std::vector<std::uint32_t> indices;
    for (const File& file : files_) {
        for (const Chunk& chunk : file.manifest.chunks)
            indices.push_back(chunk.index);
    }
    std::ranges::sort(indices);
    indices.erase(std::ranges::unique(indices).begin(), indices.end());
    return indices;
}

std::vector<Snapshot::Run> Snapshot::runs() const {
    std::vector<Run> runs;
    bool stale_between = false;
    for (const std::uint32_t index : chunk_indices()) {
        MergedChunk merged;
        merged.owner.fill(-1);
        for (const File& file : files_) {
            if (const Chunk* const chunk = find_chunk(file.manifest.chunks, index))
                put_beneath(merged, *chunk, file.memory_fd());
        }
        const FrameNumber frame = area_.frame_of_page(std::uint64_t{index} * chunk_pages);
        for (unsigned page = 0; page < chunk_pages; ++page) {
            if (merged.owner[page] < 0) {
                stale_between |= merged.stale.test(page);
                continue;
            }
            Run run{.piece = {.pages = {{frame.value + page}, {1}},
                              .fd = merged.owner[page],
                              .offset = offset_in_file(index, page, files_.front().memory_at)},
                    .gap = {}};
            if (!runs.empty() && aligned(runs.back().piece, run.piece) && !stale_between)
                run.gap = run.piece.pages.first.value - runs.back().piece.pages.end().value;
            if (run.gap == 0)
                ++runs.back().piece.pages.count.value;
            else
                runs.push_back(run);
            stale_between = false;
        }
    }
    return runs;
}

std::vector<FilePiece> Snapshot::pieces(std::size_t most) const {
    const auto runs = this->runs();
    std::uint64_t widest = 0; // gap that is bridged
    if (runs.size() > most) {
        std::vector<std::uint64_t> gaps;
        for (const Run& run : runs) {
            if (run.gap)
                gaps.push_back(*run.gap);
        }
        if (const std::size_t surplus = std::min(runs.size() - most, gaps.size()); surplus > 0) {
            const auto last = gaps.begin() + static_cast<std::ptrdiff_t>(surplus - 1);
            std::ranges::nth_element(gaps, last);
            widest = *last;
        }
    }
    std::vector<FilePiece> pieces;
    for (const auto& [piece, gap] : runs) {
        if (gap && *gap <= widest)
            pieces.back().pages.count.value = piece.pages.end().value - pieces.back().pages.first.value;
        else
            pieces.push_back(piece);
    }
    return pieces;
}

} // namespace aerate::snapshot
