#include "snapshot/writer.hpp"

#include "base/check.hpp"
#include "base/zero.hpp"
#include "memory/mapping.hpp"
#include "snapshot/chunk_digest.hpp"
#include "snapshot/header.hpp"

#include <algorithm>
#include <iterator>

namespace aerate::snapshot {
namespace {

std::span<const std::byte> page_of(std::span<const std::byte> bytes, unsigned page) {
    return bytes.subspan(page * page_size.value, page_size.value);
}

} // namespace

Writer::Writer(Options&& options, NewFile file, std::optional<NewFile> memory_file)
    : area_(std::move(options.regions))
    , key_(std::move(options.key))
    , parent_(std::move(options.parent))
    , base_(std::move(options.base))
    , kind_(kind_of(key_))
    , file_(std::move(file))
    , memory_file_(std::move(memory_file)) {}

ByteCount Writer::offset_of(std::uint32_t chunk, unsigned page) const {
    return offset_in_file(chunk, page, memory_file_ ? ByteCount{} : Header::size);
}

Result<Writer> Writer::create(Options options, FileOperations& operations) {
    TRY(check_layout({.regions = options.regions}));
    if (options.regions.size() > regions_max)
        return fail("cannot write the snapshot {}: {} regions of memory are more than {}", options.path,
                    options.regions.size(), regions_max);
    if (options.parent && !is_file_name(options.parent->name))
        return fail("cannot write the snapshot {}: the parent '{}' is not the name of a file", options.path,
                    options.parent->name);
    auto file = TRY(NewFile::create(options.path, options.existing, operations));
    if (options.parent && options.parent->name == file.name())
        return fail("cannot write the snapshot {}: a diff cannot take the place of its parent", options.path);
    const bool beside = !options.memory_path.empty();
    if (beside && (options.parent || options.key))
        return fail("cannot write the snapshot {}: a diff, or one with a key, is one file", options.path);
    if (options.base && (!beside || !same_regions(options.base->regions, options.regions)))
        return fail("cannot write the snapshot {}: a diff in two files needs one for memory, and the layout of what it "
                    "is a diff of",
                    options.path);
    std::optional<NewFile> memory_file;
    if (beside)
        memory_file.emplace(TRY(NewFile::create(options.memory_path, options.existing, operations)));
    if (options.base)
        TRY(memory_file->begin_with_existing(MemoryArea(options.regions).length(), options.cancelled));
    Writer writer(std::move(options), std::move(file), std::move(memory_file));
    if (beside) {
        TRY(writer.memory_file_->resize(writer.area_.length()));
        return writer;
    }
    // Finds out now when the file may not become that long, with a manifest that has something in each chunk.
    const ByteCount memory_end = Header::size + writer.area_.length();
    TRY(writer.file_.resize(memory_end + longest_manifest(writer.area_)));
    TRY(writer.file_.resize(memory_end));
    return writer;
}

/// Calls visit(part, page of the range at which the part begins) for the part of the range in each chunk.
template <typename Visit>
Result<> Writer::for_each_part(PageRange range, Visit&& visit) {
    const auto start = area_.find(range);
    if (!start)
        return fail("cannot write the snapshot {}: pages {:#x} to {:#x} are not all in RAM", file_.path(),
                    range.first.value, range.end().value);
    if (broken_)
        return fail("cannot write the snapshot {}: an earlier write failed", file_.path());
    for (std::uint64_t done = 0; done < range.count.value;) {
        const std::uint64_t page = *start + done;
        const auto first = static_cast<unsigned>(page % chunk_pages);
        const auto count =
            static_cast<unsigned>(std::min<std::uint64_t>(chunk_pages - first, range.count.value - done));
        const Part part{.chunk = static_cast<std::uint32_t>(page / chunk_pages), .first = first, .count = count};
        if (auto outcome = visit(part, done); !outcome) {
            broken_ = true;
            return outcome;
        }
        done += count;
    }
    return {};
}

Result<> Writer::add(PageRange range, std::span<const std::byte> bytes) {
    if (range.count.value > bytes.size() || bytes.size() != bytes_of(range.count).value)
        return fail("cannot write the snapshot {}: {} bytes given for {} pages", file_.path(), bytes.size(),
                    range.count.value);
    return for_each_part(range, [&](const Part& part, std::uint64_t done) {
        return add_part(part, bytes.subspan(done * page_size.value, part.count * page_size.value));
    });
}

Result<> Writer::drop(PageRange range) {
    return for_each_part(range, [&](const Part& part, std::uint64_t) { return drop_part(part); });
}

/// Writes the runs with data and drops those of zeros.
Result<> Writer::add_part(const Part& part, std::span<const std::byte> bytes) {
    for (unsigned page = 0; page < part.count;) {
        const bool zero = is_zero(page_of(bytes, page));
        unsigned end = page + 1;
        while (end < part.count && is_zero(page_of(bytes, end)) == zero)
            ++end;
        const Part run{.chunk = part.chunk, .first = part.first + page, .count = end - page};
        if (zero)
            TRY(drop_part(run));
        else
            TRY(write_run(run, bytes.subspan(page * page_size.value, run.count * page_size.value)));
        page = end;
    }
    return {};
}

Result<> Writer::write_run(const Part& run, std::span<const std::byte> bytes) {
    OpenChunk& chunk = chunks_[run.chunk];
    if (!chunk.digests)
        chunk.digests = std::make_unique<PageDigests>();
    for (unsigned i = 0; i < run.count; ++i) {
        const unsigned page = run.first + i;
        (*chunk.digests)[page] = digest_of(kind_, page_of(bytes, i));
        if (!chunk.data.test(page))
            ++written_.value;
        chunk.data.set(page);
        chunk.zero.reset(page);
    }
    return memory().write(bytes, offset_of(run.chunk, run.first));
}

/// Writes zeros, since a hole would say that the page is as before. Where it was zero before, and still is, it may.
Result<> Writer::write_zeros(const Part& part) {
    const Chunk* const before = find_chunk(base_->chunks, part.chunk);
    const auto found = chunks_.find(part.chunk);
    PageSet needed;
    for (unsigned page = part.first; page < part.first + part.count; ++page) {
        const bool held_data =
            (before != nullptr && before->data.test(page)) || (found != chunks_.end() && found->second.data.test(page));
        if (held_data && (found == chunks_.end() || !found->second.zero.test(page)))
            needed.set(page);
    }
    if (!needed.any())
        return {};
    OpenChunk& chunk = chunks_[part.chunk];
    written_.value -= needed.without(needed.without(chunk.data)).count();
    chunk.data = chunk.data.without(needed);
    chunk.zero = chunk.zero | needed;
    Result<> outcome;
    needed.all_runs([&](unsigned first, unsigned count) {
        outcome = memory().write_zeros(offset_of(part.chunk, first), {count * page_size.value});
        return outcome.has_value();
    });
    return outcome;
}

Result<> Writer::drop_part(const Part& part) {
    if (base_)
        return write_zeros(part);
    const auto found = chunks_.find(part.chunk);
    if (found == chunks_.end() && !parent_)
        return {};
    OpenChunk& chunk = found != chunks_.end() ? found->second : chunks_[part.chunk];
    PageSet written;
    for (unsigned page = part.first; page < part.first + part.count; ++page) {
        if (chunk.data.test(page))
            written.set(page);
        chunk.data.reset(page);
        if (parent_)
            chunk.zero.set(page);
    }
    written_.value -= written.count();
    Result<> outcome;
    written.all_runs([&](unsigned first, unsigned count) {
        outcome = memory().clear(offset_of(part.chunk, first), {count * page_size.value});
        return outcome.has_value();
    });
    return outcome;
}

Result<> Writer::add_unchanged(GuestMemory& memory) {
    CHECK(base_);
    unchanged_added_ = true;
    for (auto& [index, chunk] : chunks_) {
        const Chunk* const before = find_chunk(base_->chunks, index);
        if (before == nullptr)
            continue;
        chunk.unchanged = before->data.without(chunk.data | chunk.zero);
        if (!chunk.digests)
            chunk.digests = std::make_unique<PageDigests>();
        const bool read = chunk.unchanged.all_runs([&](unsigned first, unsigned count) {
            const FrameNumber frame = area_.frame_of_page(std::uint64_t{index} * chunk_pages + first);
            const auto bytes = memory.span(address_of(frame), bytes_of({count}));
            for (unsigned i = 0; bytes && i < count; ++i)
                (*chunk.digests)[first + i] = digest_of(kind_, page_of(*bytes, i));
            return bytes.has_value();
        });
        if (!read)
            return fail("cannot write the snapshot {}: the guest does not have the memory of what it is a diff of",
                        file_.path());
    }
    return {};
}

std::vector<Chunk> Writer::chunks() const {
    std::vector<Chunk> chunks;
    for (const auto& [index, open] : chunks_) {
        const PageSet data = open.data | open.unchanged;
        const PageSet zero = base_ ? PageSet() : open.zero;
        if (data.any() || zero.any())
            chunks.push_back(
                {.index = index,
                 .data = data,
                 .zero = zero,
                 .digest = open.digests ? digest_of_chunk(kind_, data, *open.digests) : digest_of(kind_, {})});
    }
    if (base_) {
        std::ranges::copy_if(base_->chunks, std::back_inserter(chunks),
                             [&](const Chunk& before) { return !chunks_.contains(before.index); });
        std::ranges::sort(chunks, {}, &Chunk::index);
    }
    return chunks;
}

Result<Digest> Writer::finish(std::string config, std::vector<std::byte> state) && {
    if (broken_)
        return fail("cannot write the snapshot {}: an earlier write failed", file_.path());
    CHECK(!base_ || unchanged_added_);
    const auto manifest = TRY(encode(Manifest{.regions = area_.regions(),
                                              .config = std::move(config),
                                              .state = std::move(state),
                                              .parent = parent_,
                                              .chunks = chunks()}));
    const Header header{.kind = kind_,
                        .memory_beside = memory_file_.has_value(),
                        .memory_length = area_.length(),
                        .manifest_length = {manifest.size()},
                        .manifest_digest = digest_of(kind_, manifest)};
    TRY(file_.write(manifest, header.manifest_offset()));
    TRY(file_.write(encode(header, key_), {0}));
    if (memory_file_) {
        // A state must not be there beside the memory of another one.
        TRY(file_.make_way());
        TRY(memory_file_->publish());
    }
    TRY(file_.publish());
    return header.manifest_digest;
}

} // namespace aerate::snapshot
