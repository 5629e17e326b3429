#include "snapshot/read_chunk.hpp"

#include "base/regular_file.hpp"
#include "snapshot/chunk_digest.hpp"

#include <algorithm>
#include <array>

namespace aerate::snapshot {
namespace {

/// What was read is hashed while the processor's nearest cache still has it.
constexpr unsigned pages_at_once = 16;

} // namespace

Result<> read_chunk(int fd, ByteCount memory_at, DigestKind kind, const Chunk& chunk,
                    std::span<std::byte, chunk_size.value> into) {
    std::array<Digest, chunk_pages> digests;
    Result<> read;
    chunk.data.all_runs([&](unsigned first, unsigned count) {
        for (unsigned done = 0; read && done < count; done += pages_at_once) {
            const unsigned page = first + done;
            const unsigned some = std::min(pages_at_once, count - done);
            const auto bytes = into.subspan(page * page_size.value, some * page_size.value);
            read = read_at(fd, bytes, offset_in_file(chunk.index, page, memory_at));
            for (unsigned i = 0; read && i < some; ++i)
                digests[page + i] = digest_of(kind, bytes.subspan(i * page_size.value, page_size.value));
        }
        return read.has_value();
    });
    TRY(std::move(read));
    if (!equal(digest_of_chunk(kind, chunk.data, digests), chunk.digest))
        return fail("its memory is damaged between {:#x} and {:#x} of the file",
                    offset_in_file(chunk.index, 0, memory_at).value,
                    offset_in_file(chunk.index + 1, 0, memory_at).value);
    return {};
}

} // namespace aerate::snapshot
