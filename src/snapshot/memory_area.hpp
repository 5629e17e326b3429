// The part of a snapshot file that holds memory: the regions of RAM one after the other, in chunks. Every page has its
// place whether it holds data or not, so that files can be mapped and a page can be written again.
//
//     area      | region 0             | region 1      |          page 0 of the area is the first of region 0
//     chunks    | 0   | 1   | 2   | 3  | 4   | 5       |          256 pages each; regions are multiples of 2 MiB
#pragma once

#include "base/units.hpp"
#include "memory/guest_memory.hpp"
#include "snapshot/digest.hpp"

#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

namespace aerate::snapshot {

/// The unit of digests. Digests are made from those of pages, so its size matters to the length of the manifest only:
/// 104 bytes for each MiB that holds anything, however fragmented.
inline constexpr unsigned chunk_pages = 256;
inline constexpr ByteCount chunk_size = bytes_of({chunk_pages});

/// Which pages of a chunk.
class PageSet {
public:
    static constexpr unsigned word_count = chunk_pages / 64;

    [[nodiscard]] bool test(unsigned page) const { return (words[page / 64] >> (page % 64) & 1U) != 0; }
    void set(unsigned page) { words[page / 64] |= std::uint64_t{1} << (page % 64); }
    void reset(unsigned page) { words[page / 64] &= ~(std::uint64_t{1} << (page % 64)); }
    [[nodiscard]] bool any() const { return count() != 0; }
    [[nodiscard]] unsigned count() const {
        unsigned total = 0;
        for (const std::uint64_t word : words)
            total += static_cast<unsigned>(std::popcount(word));
        return total;
    }
    [[nodiscard]] bool intersects(const PageSet& other) const {
        std::uint64_t common = 0;
        for (unsigned i = 0; i < word_count; ++i)
            common |= words[i] & other.words[i];
        return common != 0;
    }
    [[nodiscard]] PageSet operator|(const PageSet& other) const {
        return combined(other, [](std::uint64_t a, std::uint64_t b) { return a | b; });
    }
    [[nodiscard]] PageSet without(const PageSet& other) const {
        return combined(other, [](std::uint64_t a, std::uint64_t b) { return a & ~b; });
    }
    /// Calls visit(first, count) for each run of pages, ascending, until it returns false. Whether none did.
    template <typename Visit>
    bool all_runs(Visit&& visit) const {
        for (unsigned first = 0; first < chunk_pages;) {
            unsigned end = first;
            while (end < chunk_pages && test(end))
                ++end;
            if (end > first && !visit(first, end - first))
                return false;
            first = end + 1;
        }
        return true;
    }
    bool operator==(const PageSet&) const = default;

    std::array<std::uint64_t, word_count> words{};

private:
    template <typename Combine>
    [[nodiscard]] PageSet combined(const PageSet& other, Combine&& combine) const {
        PageSet result;
        for (unsigned i = 0; i < word_count; ++i)
            result.words[i] = combine(words[i], other.words[i]);
        return result;
    }
};

/// What a manifest says about a chunk. Pages in neither set are as in the parent, or zero without one.
struct Chunk {
    std::uint32_t index = 0;
    PageSet data;
    PageSet zero;  ///< only with a parent
    Digest digest; ///< of the digests of the pages in `data`
    bool operator==(const Chunk&) const = default;
};

/// What a memory file holds, as its manifest says it.
struct MemoryImage {
    std::vector<MemoryRegion> regions;
    std::vector<Chunk> chunks; ///< ascending; of none `zero` is any
};

[[nodiscard]] bool same_regions(const std::vector<MemoryRegion>&, const std::vector<MemoryRegion>&);

class MemoryArea {
public:
    explicit MemoryArea(std::vector<MemoryRegion> regions)
        : regions_(std::move(regions)) {}

    [[nodiscard]] const std::vector<MemoryRegion>& regions() const { return regions_; }
    [[nodiscard]] ByteCount length() const;
    [[nodiscard]] std::uint64_t chunks() const { return whole_pages_of(length()).value / chunk_pages; }
    /// Returns the page of the area where the range begins, when all of it is RAM.
    [[nodiscard]] std::optional<std::uint64_t> find(PageRange) const;
    /// REQUIRES: the page is in the area.
    [[nodiscard]] FrameNumber frame_of_page(std::uint64_t page) const;

private:
    [[nodiscard]] std::optional<std::uint64_t> find(FrameNumber) const;
    std::vector<MemoryRegion> regions_;
};

} // namespace aerate::snapshot
