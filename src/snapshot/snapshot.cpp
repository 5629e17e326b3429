#include "snapshot/snapshot.hpp"

#include "base/regular_file.hpp"
#include "snapshot/file_path.hpp"
#include "snapshot/header.hpp"

#include <fcntl.h>

#include <algorithm>

namespace aerate::snapshot {
namespace {

Result<Header> read_header(int fd, ByteCount file_length, const std::optional<Key>& key) {
    std::array<std::byte, Header::size.value> page;
    if (file_length < Header::size)
        return fail("it is not a snapshot: it has only {} bytes", file_length.value);
    TRY(read_at(fd, page, {0}));
    const Header header = TRY(decode_header(page, key));
    if (header.file_length() != file_length)
        return fail("it has {} bytes where its header says {}: it was cut or added to", file_length.value,
                    header.file_length().value);
    return header;
}

Result<Manifest> read_manifest(int fd, const Header& header) {
    std::vector<std::byte> bytes(header.manifest_length.value);
    TRY(read_at(fd, bytes, header.manifest_offset()));
    if (!equal(digest_of(header.kind, bytes), header.manifest_digest))
        return fail("its manifest is damaged");
    Manifest manifest = TRY(decode_manifest(bytes));
    if (MemoryArea(manifest.regions).length() != header.memory_length)
        return fail("its header and its manifest have different sizes of memory");
    return manifest;
}

bool same_regions(const std::vector<MemoryRegion>& a, const std::vector<MemoryRegion>& b) {
    return std::ranges::equal(a, b, [](const MemoryRegion& one, const MemoryRegion& other) {
        return one.start == other.start && one.length == other.length;
    });
}

} // namespace

Result<Snapshot::File> Snapshot::open_file(int directory, std::string name, const std::optional<Key>& key) {
    File file;
    file.file = TRY(open_regular(name, Link::refuse, directory));
    file.name = std::move(name);
    const Header header = TRY(read_header(file.fd(), file.file.length, key));
    file.kind = header.kind;
    file.identity = header.manifest_digest;
    file.manifest = TRY(read_manifest(file.fd(), header));
    return file;
}

Result<> Snapshot::open_ancestors(int directory, const std::optional<Key>& key) {
    while (const auto& parent = files_.back().manifest.parent) {
        const std::string name = parent->name;
        const Digest identity = parent->identity;
        if (files_.size() == chain_max)
            return fail("it is the last of more than {} diffs", chain_max);
        auto opened = open_file(directory, name, key);
        if (!opened)
            return fail("its parent {}: {}", name, opened.error().message);
        if (std::ranges::any_of(files_, [&](const File& file) { return file.file.is(opened->file); }))
            return fail("its parent {} is a diff of it", name);
        if (!equal(opened->identity, identity))
            return fail("its parent {} is another snapshot than the one it was taken from", name);
        if (!same_regions(opened->manifest.regions, regions()))
            return fail("its parent {} has other memory", name);
        files_.push_back(*std::move(opened));
    }
    return {};
}

Result<Snapshot> Snapshot::open(const std::string& path, const std::optional<Key>& key) {
    const FilePath parts(path);
    if (!is_file_name(parts.name))
        return fail("cannot use the snapshot '{}': the path does not end with the name of a file", path);
    const FileDescriptor directory(::open(parts.directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!directory.valid())
        return fail_errno("cannot use the snapshot {}: its directory cannot be opened", path);

    auto file = open_file(directory.get(), parts.name, key);
    if (!file)
        return fail_because(std::move(file).error(), "cannot use the snapshot {}", path);
    Snapshot snapshot{MemoryArea(file->manifest.regions)};
    snapshot.files_.push_back(*std::move(file));
    if (auto opened = snapshot.open_ancestors(directory.get(), key); !opened)
        return fail_because(std::move(opened).error(), "cannot use the snapshot {}", path);
    return snapshot;
}

} // namespace aerate::snapshot
