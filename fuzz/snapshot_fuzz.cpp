// Hostile snapshot files. The input edits a valid one: the first byte picks which, and whether digest and seal are made
// right again afterwards, for whoever has no key to fear can do that too. Then come edits of four bytes each: where in
// header or manifest, what, and how much is cut off.
#include "base/check.hpp"
#include "base/endian.hpp"
#include "base/testing/temporary_directory.hpp"
#include "snapshot/header.hpp"
#include "snapshot/testing/sample.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <span>

namespace aerate::snapshot {
namespace {

using testing::Bytes;

constexpr std::size_t manifest_start = Header::size.value + (2U << 20);

Bytes read_file(const std::string& path) {
    Bytes bytes(std::filesystem::file_size(path));
    const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    CHECK(::read(file.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    return bytes;
}

/// A full snapshot, one sealed with a key, and a diff.
struct Samples {
    Samples() {
        CHECK(testing::write_sample(directory / "full"));
        CHECK(testing::write_sample(directory / "sealed", testing::sample_key()));
        auto diff = Writer::create({.path = directory / "diff",
                                    .regions = testing::sample_regions(),
                                    .parent = Snapshot::open(directory / "full")->as_parent()});
        CHECK(diff && diff->drop({{3}, {300}}) && diff->add({{4}, {1}}, testing::pages(1, 5)));
        CHECK(std::move(*diff).finish("diff", {}));
        for (const char* name : {"full", "sealed", "diff"})
            files.push_back(read_file(directory / name));
        edited = FileDescriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        CHECK(edited.valid());
    }
    TemporaryDirectory directory;
    std::vector<Bytes> files;
    std::string path = directory / "edited";
    FileDescriptor edited;
};

/// Header and manifest, one after the other.
Bytes edit(const Bytes& file, std::span<const std::uint8_t> edits) {
    Bytes bytes(file.begin(), file.begin() + Header::size.value);
    bytes.insert(bytes.end(), file.begin() + manifest_start, file.end());
    for (; edits.size() >= 4; edits = edits.subspan(4)) {
        const std::size_t offset = edits[0] | std::size_t{edits[1]} << 8;
        if (edits[3] == 0xff && offset > Header::size.value)
            bytes.resize(offset % (2 * file.size()));
        else if (!bytes.empty())
            bytes[offset % bytes.size()] = static_cast<std::byte>(edits[2]);
    }
    bytes.resize(std::max<std::size_t>(bytes.size(), Header::size.value));
    return bytes;
}

void make_right(Bytes& bytes, unsigned choice) {
    const std::span all(bytes);
    if ((choice & 1U) != 0) {
        store_little_endian(all.subspan(32), std::uint64_t{all.size() - Header::size.value});
        std::ranges::copy(digest_of(DigestKind::xxh3, all.subspan(Header::size.value)), all.subspan(40).begin());
    }
    if ((choice & 2U) != 0) {
        const auto sealed = all.first(Header::size.value - sizeof(Digest));
        std::ranges::copy(digest_of(DigestKind::xxh3, sealed), all.subspan(sealed.size()).begin());
    }
}

void check(const Snapshot& snapshot) {
    const MemoryArea area(snapshot.regions());
    for (const std::size_t most : {Snapshot::pieces_max, std::size_t{1}}) {
        FrameNumber end{};
        for (const FilePiece& piece : snapshot.pieces(most)) {
            const auto page = area.find(piece.pages);
            CHECK(page && piece.pages.first >= end);
            CHECK(piece.offset == Header::size + bytes_of({*page}));
            end = piece.pages.end();
        }
    }
    static_cast<void>(snapshot.verify_memory());
}

} // namespace
} // namespace aerate::snapshot

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace aerate::snapshot;
    static const Samples samples;
    if (size == 0)
        return 0;
    const unsigned choice = data[0] / 4U % samples.files.size();
    auto bytes = edit(samples.files[choice], std::span(data, size).subspan(1));
    make_right(bytes, data[0]);
    const std::span all(bytes);
    const auto manifest = all.subspan(Header::size.value);
    const int fd = samples.edited.get();
    CHECK(::pwrite(fd, all.data(), Header::size.value, 0) == static_cast<ssize_t>(Header::size.value));
    CHECK(::pwrite(fd, manifest.data(), manifest.size(), manifest_start) == static_cast<ssize_t>(manifest.size()));
    CHECK(::ftruncate(fd, static_cast<off_t>(manifest_start + manifest.size())) == 0);
    const auto snapshot =
        Snapshot::open(samples.path, choice == 1 ? std::optional(testing::sample_key()) : std::nullopt);
    if (snapshot)
        check(*snapshot);
    return 0;
}
