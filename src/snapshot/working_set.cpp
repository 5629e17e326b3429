#include "snapshot/working_set.hpp"

#include "base/endian.hpp"
#include "base/regular_file.hpp"
#include "snapshot/memory_area.hpp"
#include "snapshot/new_file.hpp"

#include <fcntl.h>

#include <algorithm>
#include <map>

namespace aerate::snapshot {
namespace {

constexpr std::uint64_t working_set_magic = 0x5453574152454145; // "EAERAWST"
constexpr std::uint32_t working_set_version = 1;

constexpr std::size_t kind_offset = 12;
constexpr std::size_t identity_offset = 16;
constexpr std::size_t records_offset = identity_offset + sizeof(Digest);
constexpr std::size_t record_size = 8 + sizeof(PageSet);

using Bytes = std::vector<std::byte>;

std::map<std::uint32_t, PageSet> chunks_of(const MemoryArea& area, const PageBitmap& pages) {
    std::map<std::uint32_t, PageSet> chunks;
    for_each_run(pages, [&](PageRange run) {
        for (FrameNumber frame = run.first; frame < run.end(); ++frame.value) {
            if (const auto page = area.find({frame, {1}}))
                chunks[static_cast<std::uint32_t>(*page / chunk_pages)].set(static_cast<unsigned>(*page % chunk_pages));
        }
    });
    return chunks;
}

/// Checks everything but the records.
Result<Bytes> read_sealed(const WorkingSetPlace& place, const FileDescriptor& file, ByteCount length) {
    const ByteCount longest{records_offset + MemoryArea(place.regions).chunks() * record_size + sizeof(Digest)};
    if (length.value < records_offset + sizeof(Digest) || length > longest ||
        (length.value - records_offset - sizeof(Digest)) % record_size != 0)
        return fail("it has {} bytes, which no working set of this snapshot has", length.value);
    Bytes bytes(length.value);
    TRY(read_at(file.get(), bytes, {0}));
    if (load_little_endian<std::uint64_t>(bytes) != working_set_magic)
        return fail("it is not a working set");
    const auto numbers = std::span(bytes);
    if (const auto version = load_little_endian<std::uint32_t>(numbers.subspan(8)); version != working_set_version)
        return fail("it has version {} of the format, and this program reads version {}", version, working_set_version);
    TRY(check_kind(load_little_endian<std::uint32_t>(numbers.subspan(kind_offset)), place.key));
    Digest seal;
    std::ranges::copy(numbers.last(sizeof(Digest)), seal.begin());
    if (!equal(seal, seal_of(numbers.first(bytes.size() - sizeof(Digest)), place.key)))
        return fail("it is damaged{}", place.key ? ", or was written with another key" : "");
    if (!std::ranges::equal(numbers.subspan(identity_offset, sizeof(Digest)), place.identity))
        return fail("it was recorded for another snapshot: record it again");
    bytes.resize(bytes.size() - sizeof(Digest));
    return bytes;
}

Result<std::vector<PageRange>> decode_records(const MemoryArea& area, std::span<const std::byte> records) {
    std::vector<PageRange> ranges;
    std::optional<std::uint32_t> previous;
    for (; !records.empty(); records = records.subspan(record_size)) {
        const auto index = load_little_endian<std::uint32_t>(records);
        if (index >= area.chunks() || (previous && index <= *previous))
            return fail("it has chunk {} of a memory of {} chunks, or has it out of order", index, area.chunks());
        previous = index;
        PageSet pages;
        for (unsigned word = 0; word < PageSet::word_count; ++word)
            pages.words[word] = load_little_endian<std::uint64_t>(records.subspan(8 + word * sizeof(std::uint64_t)));
        // A chunk lies in one region, whose length is a multiple of its own.
        const FrameNumber first_of_chunk = area.frame_of_page(std::uint64_t{index} * chunk_pages);
        pages.all_runs([&](unsigned first, unsigned count) {
            ranges.push_back({{first_of_chunk.value + first}, {count}});
            return true;
        });
    }
    return ranges;
}

} // namespace

Result<> write_working_set(const WorkingSetPlace& place, const PageBitmap& pages, FileOperations& operations) {
    const auto chunks = chunks_of(MemoryArea(place.regions), pages);
    Bytes bytes(records_offset + chunks.size() * record_size + sizeof(Digest));
    const std::span all(bytes);
    store_little_endian(all, working_set_magic);
    store_little_endian(all.subspan(8), working_set_version);
    store_little_endian(all.subspan(kind_offset), static_cast<std::uint32_t>(kind_of(place.key)));
    std::ranges::copy(place.identity, all.subspan(identity_offset).begin());
    auto record = all.subspan(records_offset);
    for (const auto& [index, set] : chunks) {
        store_little_endian(record, index);
        std::ranges::copy(std::as_bytes(std::span(set.words)), record.subspan(8).begin());
        record = record.subspan(record_size);
    }
    std::ranges::copy(seal_of(all.first(bytes.size() - sizeof(Digest)), place.key), record.begin());

    auto file = TRY(NewFile::create(place.path(), Existing::replace, operations));
    TRY(file.write(bytes, {0}));
    return file.publish();
}

Result<std::vector<PageRange>> read_working_set(const WorkingSetPlace& place) {
    const auto read = [&]() -> Result<std::vector<PageRange>> {
        auto opened = open_regular(place.path(), Link::refuse);
        if (!opened && opened.error().system_error == ENOENT)
            return std::vector<PageRange>();
        const auto file = TRY(std::move(opened));
        const Bytes bytes = TRY(read_sealed(place, file.fd, file.length));
        return decode_records(MemoryArea(place.regions), std::span(bytes).subspan(records_offset));
    };
    auto ranges = read();
    if (!ranges)
        return fail_because(std::move(ranges).error(), "cannot use the working set {}", place.path());
    return ranges;
}

} // namespace aerate::snapshot
