#include "migration/wire/page_frame.hpp"

#include "base/check.hpp"
#include "migration/streams.hpp"
#include "migration/wire/bytes.hpp"
#include "migration/wire/frame.hpp"

#include <algorithm>
#include <limits>

namespace aerate::migration {
namespace {

constexpr std::size_t content_at = frame_header_size + 16;
constexpr std::size_t largest_frame = content_at + bytes_of(frame_pages).value + frame_runs * 16;
static_assert(largest_frame <= frame_header_size + max_payload);
constexpr std::uint64_t longest_run = std::numeric_limits<std::uint32_t>::max();

} // namespace

PageCount PageFrameBuilder::room() const {
    return runs_.size() >= frame_runs ? PageCount{} : frame_pages - counts_.data;
}

/// Returns false when that needs a run more than there is room for.
bool PageFrameBuilder::extend(FrameNumber frame, PageRun::Kind kind) {
    if (!runs_.empty()) {
        PageRun& last = runs_.back();
        // Runs end where a stream's part of memory may.
        const bool begins_chunk = frame.value % stream_chunk.value == 0;
        if (last.kind == kind && last.pages.end() == frame && !begins_chunk && last.pages.count.value < longest_run) {
            ++last.pages.count.value;
            return true;
        }
    }
    if (runs_.size() >= frame_runs)
        return false;
    runs_.push_back({{frame, {1}}, kind});
    return true;
}

PageCount PageFrameBuilder::add(GuestMemory& memory, PageRange range) {
    PageCount added;
    for (FrameNumber frame = range.first; frame < range.end(); ++frame.value, ++added.value) {
        if (memory.is_zero(frame)) {
            if (!extend(frame, PageRun::Kind::zero))
                return added;
            ++counts_.zero.value;
            continue;
        }
        if (counts_.data >= frame_pages || !extend(frame, PageRun::Kind::data))
            return added;
        frame_.resize(largest_frame);
        const auto content = std::span(frame_).subspan(content_at + bytes_of(counts_.data).value, page_size.value);
        CHECK(memory.read(address_of(frame), content));
        ++counts_.data.value;
    }
    return added;
}

std::span<const std::byte> PageFrameBuilder::last_content() const {
    if (runs_.empty() || runs_.back().kind != PageRun::Kind::data)
        return {};
    return std::span(frame_).subspan(content_at + bytes_of(counts_.data - PageCount{1}).value, page_size.value);
}

std::span<std::byte> PageFrameBuilder::finish(Compressor* compressor) {
    frame_.resize(largest_frame);
    std::vector<std::byte>* frame = &frame_;
    auto kind = Compression::none;
    length_ = stored_ = bytes_of(counts_.data);
    if (compressor != nullptr && compressor->kind() != Compression::none && length_.value > 0) {
        compressed_.resize(largest_frame);
        // What saves less than an eighth is not worth the other side's time.
        const auto into = std::span(compressed_).subspan(content_at, length_.value - length_.value / 8);
        if (const auto packed = compressor->compress(std::span(frame_).subspan(content_at, length_.value), into)) {
            frame = &compressed_;
            kind = compressor->kind();
            stored_ = {*packed};
        }
    }
    ByteWriter writer(std::span<std::byte>(*frame).subspan(frame_header_size));
    writer.put(static_cast<std::uint32_t>(runs_.size()));
    writer.put(static_cast<std::uint32_t>(stored_.value));
    writer.put(static_cast<std::uint32_t>(length_.value));
    writer.put(static_cast<std::uint32_t>(kind));
    writer.skip(stored_.value);
    for (const PageRun& run : runs_) {
        writer.put(run.pages.first.value);
        writer.put(static_cast<std::uint32_t>(run.pages.count.value));
        writer.put(static_cast<std::uint32_t>(run.kind));
    }
    runs_.clear();
    counts_ = {};
    return std::span<std::byte>(*frame).first(frame_header_size + writer.position());
}

Result<PageFrame> parse_pages(std::span<const std::byte> payload, CompressionKinds allowed,
                              std::vector<std::byte>& decoded) {
    ByteReader reader(payload);
    const auto runs = reader.take<std::uint32_t>();
    const auto stored = reader.take<std::uint32_t>();
    const auto length = reader.take<std::uint32_t>();
    const auto encoding = static_cast<Compression>(reader.take<std::uint32_t>());
    if (runs == 0 || runs > frame_runs || length > bytes_of(frame_pages).value)
        return fail("a frame of {} runs of pages and {} bytes: 1 to {} and at most {} are allowed", runs, length,
                    frame_runs, bytes_of(frame_pages).value);
    if (!allowed.include(encoding))
        return fail("a frame of pages is compressed in a way that was not negotiated ({})",
                    static_cast<std::uint32_t>(encoding));
    if (encoding == Compression::none ? stored != length : stored >= length)
        return fail("a frame of pages holds {} bytes of content, and says that they are {}", stored, length);
    PageFrame frame;
    frame.content = reader.take_bytes(stored);
    std::uint64_t data = 0;
    frame.runs.reserve(runs);
    for (std::uint32_t i = 0; i < runs; ++i) {
        const FrameNumber first{reader.take<std::uint64_t>()};
        const PageCount count{reader.take<std::uint32_t>()};
        const auto kind = static_cast<PageRun::Kind>(reader.take<std::uint32_t>());
        if (count.value == 0 || (kind != PageRun::Kind::data && kind != PageRun::Kind::zero))
            return fail("a frame of pages has a malformed run");
        if (kind == PageRun::Kind::data)
            data += count.value;
        frame.runs.push_back({{first, count}, kind});
    }
    if (!reader.complete() || data * page_size.value != length)
        return fail("a frame of pages does not hold what it says");
    if (encoding != Compression::none) {
        decoded.resize(length);
        TRY(decompress(encoding, frame.content, decoded));
        frame.content = decoded;
    }
    return frame;
}

} // namespace aerate::migration
