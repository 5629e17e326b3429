// Comparing memory with the manifest.
#include "base/regular_file.hpp"
#include "base/zero.hpp"
#include "snapshot/chunk_digest.hpp"
#include "snapshot/header.hpp"
#include "snapshot/read_chunk.hpp"
#include "snapshot/snapshot.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace aerate::snapshot {
namespace {

bool holds_data(const std::vector<Chunk>& chunks, std::uint64_t page) {
    const Chunk* const chunk = find_chunk(chunks, static_cast<std::uint32_t>(page / chunk_pages));
    return chunk != nullptr && chunk->data.test(page % chunk_pages);
}

} // namespace

/// Looks at what the file system has stored, so that a hole costs nothing; where it cannot tell, all is looked at.
Result<> Snapshot::verify_holes(const File& file) const {
    const ByteCount end = file.memory_at + area_.length();
    std::array<std::byte, page_size.value> page;
    for (ByteCount at = file.memory_at; at < end;) {
        const off_t data = ::lseek(file.memory_fd(), static_cast<off_t>(at.value), SEEK_DATA);
        if (data < 0 && errno == ENXIO) // the rest is a hole, as it can be in a file that has memory alone
            return {};
        if (data < 0)
            return fail_errno("its holes cannot be found");
        const off_t hole = ::lseek(file.memory_fd(), data, SEEK_HOLE);
        if (hole < 0)
            return fail_errno("its holes cannot be found");
        const ByteCount stored_end = std::min(end, ByteCount{static_cast<std::uint64_t>(hole)});
        for (at = {static_cast<std::uint64_t>(data) / page_size.value * page_size.value}; at < stored_end;
             at += page_size) {
            if (holds_data(file.manifest.chunks, whole_pages_of(at - file.memory_at).value))
                continue;
            TRY(read_at(file.memory_fd(), page, at));
            if (!is_zero(page))
                return fail("its memory has something at {:#x} of the file where its manifest says zero", at.value);
        }
        at = std::max(at, stored_end);
    }
    return {};
}

/// Finds what a diff's memory file lacks before it is merged: a page that holds something, and is a hole there.
Result<> Snapshot::check_memory_is_merged() const {
    const File& file = files_.front();
    std::uint64_t stored_end = 0;
    for (const Chunk& chunk : file.manifest.chunks) {
        const bool stored = chunk.data.all_runs([&](unsigned first, unsigned count) {
            const std::uint64_t at = offset_in_file(chunk.index, first, file.memory_at).value;
            const std::uint64_t end = at + bytes_of({count}).value;
            if (end <= stored_end)
                return true;
            const off_t hole = ::lseek(file.memory_fd(), static_cast<off_t>(at), SEEK_HOLE);
            if (hole >= 0)
                stored_end = static_cast<std::uint64_t>(hole);
            return hole < 0 || end <= stored_end; // where holes cannot be asked for, samples are looked at
        });
        if (!stored)
            return fail("the memory in {} lacks pages that the snapshot has: it is of a diff that is not merged yet "
                        "(Firecracker's snapshot-editor edit-memory rebase does that, or take the diff into a copy of "
                        "the memory file before it), or another snapshot's",
                        file.memory->name);
    }
    return {};
}

Result<> Snapshot::check_memory_belongs() const {
    constexpr std::size_t samples = 8;
    const File& file = files_.front();
    const auto& chunks = file.manifest.chunks;
    std::vector<std::byte> buffer(chunk_size.value);
    const std::size_t count = std::min(samples, chunks.size());
    for (std::size_t i = 0; i < count; ++i) // the first, the last, and some between them
        if (!read_chunk(file.memory_fd(), file.memory_at, file.kind,
                        chunks[(chunks.size() - 1) * i / std::max<std::size_t>(count - 1, 1)],
                        std::span<std::byte, chunk_size.value>(buffer)))
            return fail("the memory in {} is another snapshot's, or was changed", file.memory->name);
    return {};
}

Result<> Snapshot::verify_memory(const Progress& progress) const {
    ByteCount all{};
    for (const File& file : files_) {
        for (const Chunk& chunk : file.manifest.chunks)
            all += bytes_of({chunk.data.count()});
    }
    std::vector<std::byte> buffer(chunk_size.value);
    ByteCount done{};
    const auto verify = [&](const File& file) -> Result<> {
        for (const Chunk& chunk : file.manifest.chunks) {
            TRY(read_chunk(file.memory_fd(), file.memory_at, file.kind, chunk,
                           std::span<std::byte, chunk_size.value>(buffer)));
            done += bytes_of({chunk.data.count()});
            if (progress && !progress(done, all))
                return fail("it was cancelled");
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
