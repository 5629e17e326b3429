// Comparing memory with the manifest.
#include "base/regular_file.hpp"
#include "base/zero.hpp"
#include "snapshot/chunk_digest.hpp"
#include "snapshot/snapshot.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>

namespace aerate::snapshot {
namespace {

constexpr unsigned pages_at_once = 16;

bool holds_data(const std::vector<Chunk>& chunks, std::uint64_t page) {
    const auto index = static_cast<std::uint32_t>(page / chunk_pages);
    const auto chunk = std::ranges::lower_bound(chunks, index, {}, &Chunk::index);
    return chunk != chunks.end() && chunk->index == index && chunk->data.test(page % chunk_pages);
}

} // namespace

Result<> Snapshot::verify_chunk(const File& file, const Chunk& chunk) const {
    std::array<std::byte, pages_at_once * page_size.value> buffer;
    std::array<Digest, chunk_pages> digests;
    Result<> read;
    chunk.data.all_runs([&](unsigned first, unsigned count) {
        for (unsigned done = 0; read && done < count; done += pages_at_once) {
            const unsigned some = std::min(pages_at_once, count - done);
            const auto bytes = std::span(buffer).first(some * page_size.value);
            read = read_at(file.fd(), bytes, offset_in_file(chunk.index, first + done));
            for (unsigned i = 0; read && i < some; ++i)
                digests[first + done + i] = digest_of(file.kind, bytes.subspan(i * page_size.value, page_size.value));
        }
        return read.has_value();
    });
    TRY(std::move(read));
    if (!equal(digest_of_chunk(file.kind, chunk.data, digests), chunk.digest))
        return fail("its memory is damaged between {:#x} and {:#x} of the file", offset_in_file(chunk.index, 0).value,
                    offset_in_file(chunk.index + 1, 0).value);
    return {};
}

/// Looks at what the file system has stored, so that a hole costs nothing; where it cannot tell, all is looked at.
Result<> Snapshot::verify_holes(const File& file) const {
    const ByteCount end = Header::size + area_.length();
    std::array<std::byte, page_size.value> page;
    for (ByteCount at = Header::size; at < end;) {
        const off_t data = ::lseek(file.fd(), static_cast<off_t>(at.value), SEEK_DATA);
        if (data < 0)
            return fail_errno("its holes cannot be looked for");
        const off_t hole = ::lseek(file.fd(), data, SEEK_HOLE);
        if (hole < 0)
            return fail_errno("its holes cannot be looked for");
        const ByteCount stored_end = std::min(end, ByteCount{static_cast<std::uint64_t>(hole)});
        for (at = {static_cast<std::uint64_t>(data) / page_size.value * page_size.value}; at < stored_end;
             at += page_size) {
            if (holds_data(file.manifest.chunks, whole_pages_of(at - Header::size).value))
                continue;
            TRY(read_at(file.fd(), page, at));
            if (!is_zero(page))
                return fail("its memory has something at {:#x} of the file where its manifest says zero", at.value);
        }
        at = std::max(at, stored_end);
    }
    return {};
}

Result<> Snapshot::verify_memory(const std::function<void(ByteCount done, ByteCount all)>& progress) const {
    ByteCount all{};
    for (const File& file : files_) {
        for (const Chunk& chunk : file.manifest.chunks)
            all += bytes_of({chunk.data.count()});
    }
    ByteCount done{};
    const auto verify = [&](const File& file) -> Result<> {
        for (const Chunk& chunk : file.manifest.chunks) {
            TRY(verify_chunk(file, chunk));
            done += bytes_of({chunk.data.count()});
            if (progress)
                progress(done, all);
        }
        return verify_holes(file);
    };
    for (const File& file : files_) {
        if (const auto verified = verify(file); !verified)
            return fail("cannot use the snapshot {}: {}", file.name, verified.error().message);
    }
    return {};
}

} // namespace aerate::snapshot
