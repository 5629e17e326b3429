// The payload of a `pages` frame: the content of some pages, then what pages those are.
//
//     | runs 4 | stored 4 | length 4 | encoding 4 | content, `stored` bytes | run: first 8, count 4, kind 4 | run ...
//
// Content is that of all `data` runs, one after the other: `length` bytes once decoded, at most 256 KiB, so that a
// frame stays in a core's cache while it is copied, summed up and sent. Frames of 1 MiB cost downtime: 75 to 90 ms over
// loopback TCP where it is 13 to 17 ms now (256 MiB, two busy cores). TCP's buffers, downtime was 75 to 90 ms where it
// is 13 to 17 ms now (256 MiB over loopback, two busy cores).
#pragma once

#include "base/error.hpp"
#include "memory/guest_address.hpp"
#include "memory/guest_memory.hpp"
#include "migration/wire/compression.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace aerate::migration {

inline constexpr PageCount frame_pages{64}; ///< with content, in one frame
inline constexpr std::size_t frame_runs = 1024;

struct PageRun {
    enum class Kind : std::uint32_t { data = 1, zero = 2 };
    PageRange pages;
    Kind kind = Kind::data;
    bool operator==(const PageRun&) const = default;
};

/// Collects runs, and reads the content of pages when they are added, into the frame that will be sent.
class PageFrameBuilder {
public:
    struct Counts {
        PageCount data;
        PageCount zero;
    };

    /// Adds pages of `range` from its beginning, those that read as zero as zero runs, and returns how many fitted.
    PageCount add(GuestMemory&, PageRange range);
    /// Returns what the page that was added last holds; empty when that is zeros.
    [[nodiscard]] std::span<const std::byte> last_content() const;

    [[nodiscard]] bool empty() const { return runs_.empty(); }
    [[nodiscard]] PageCount room() const;
    [[nodiscard]] const Counts& counts() const { return counts_; }
    /// Returns the frame, with room for its header in front; valid until the next call of add(), which begins anew.
    [[nodiscard]] std::span<std::byte> finish(Compressor* compressor = nullptr);
    /// Returns the length of the content of the frame that finish() returned last: before and after.
    [[nodiscard]] ByteCount length() const { return length_; }
    [[nodiscard]] ByteCount stored() const { return stored_; }

private:
    [[nodiscard]] bool extend(FrameNumber, PageRun::Kind);

    std::vector<PageRun> runs_;
    std::vector<std::byte> frame_;      ///< of its full size from the first page on
    std::vector<std::byte> compressed_; ///< the same frame, with its content compressed
    Counts counts_;
    ByteCount length_;
    ByteCount stored_;
};

struct PageFrame {
    std::vector<PageRun> runs;          ///< none empty; whether they lie in RAM is not checked
    std::span<const std::byte> content; ///< of the data runs
};

/// Parses a frame of pages. Decodes content that is compressed, in a way that is `allowed`, into `decoded`.
[[nodiscard]] Result<PageFrame> parse_pages(std::span<const std::byte> payload, CompressionKinds allowed,
                                            std::vector<std::byte>& decoded);

} // namespace aerate::migration
