// Hostile working sets beside a snapshot. The first byte says whether the bytes that follow are the whole file or its
// records, whether it is sealed rightly, and whether the snapshot has a key. Whoever can write without a key can seal.
#include "base/check.hpp"
#include "base/endian.hpp"
#include "base/testing/temporary_directory.hpp"
#include "snapshot/memory_area.hpp"
#include "snapshot/testing/sample.hpp"
#include "snapshot/working_set.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <optional>
#include <span>

namespace aerate::snapshot {
namespace {

using testing::Bytes;

/// The beginning of a file that nobody has touched, up to its records.
Bytes beginning_of(const WorkingSetPlace& place) {
    CHECK(write_working_set(place, PageBitmap({0})));
    const FileDescriptor file(::open(place.path().c_str(), O_RDONLY | O_CLOEXEC));
    Bytes bytes(std::filesystem::file_size(place.path()));
    CHECK(::read(file.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    bytes.resize(bytes.size() - sizeof(Digest));
    return bytes;
}

struct Sample {
    explicit Sample(const std::optional<Key>& key)
        : place{.snapshot_path = directory / "a",
                .identity = digest_of(DigestKind::xxh3, {}),
                .regions = {{{0}, {2U << 20}}, {{8U << 20}, {4U << 20}}},
                .key = key}
        , beginning(beginning_of(place)) {}

    TemporaryDirectory directory{"/dev/shm"};
    WorkingSetPlace place;
    Bytes beginning;
};

void write(const std::string& path, std::span<const std::byte> bytes) {
    const FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    CHECK(::write(file.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
}

/// What was read is what the header promises, and the same when it was written again.
void check(const WorkingSetPlace& place, const std::vector<PageRange>& ranges) {
    const MemoryArea area(place.regions);
    PageBitmap pages(whole_pages_of({12U << 20}));
    FrameNumber end{};
    for (const PageRange& range : ranges) {
        CHECK(range.first >= end && range.count > PageCount{} && range.count <= PageCount{chunk_pages});
        CHECK(area.find(range));
        end = range.end();
        pages.set(range);
    }
    CHECK(write_working_set(place, pages));
    CHECK(read_working_set(place).value() == ranges);
}

} // namespace
} // namespace aerate::snapshot

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace aerate::snapshot;
    static const Sample open{std::nullopt};
    static const Sample keyed{testing::sample_key()};
    if (size == 0)
        return 0;
    const bool records_only = (data[0] & 1U) != 0;
    const bool sealed = (data[0] & 2U) != 0;
    const auto& [directory, place, beginning] = (data[0] & 4U) != 0 ? keyed : open;
    Bytes bytes = records_only ? beginning : Bytes();
    const auto input = std::as_bytes(std::span(data, size)).subspan(1);
    bytes.insert(bytes.end(), input.begin(), input.end());
    if (sealed) {
        const Digest seal = seal_of(bytes, place.key);
        bytes.insert(bytes.end(), seal.begin(), seal.end());
    }
    write(place.path(), bytes);
    const auto ranges = read_working_set(place);
    CHECK(!ranges || sealed || !place.key);
    if (ranges)
        check(place, *ranges);
    return 0;
}
