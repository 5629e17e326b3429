#include "snapshot/snapshot.hpp"

#include "base/host.hpp"
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
        return fail("it has {} bytes where its header says {}: it was truncated or extended", file_length.value,
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
    if (header.memory_beside && manifest.parent)
        return fail("it is a diff, and its memory is in a file of its own");
    return manifest;
}

} // namespace

Result<std::uint32_t> version_of(const std::string& path) {
    const auto read = [&]() -> Result<> {
        const RegularFile file = TRY(open_regular(path, Link::refuse));
        TRY(read_header(file.fd.get(), file.length, {}));
        return {};
    }();
    if (!read)
        return fail_because(read.error(), "cannot use the snapshot {}", path);
    return Header::version;
}

Result<Snapshot::File> Snapshot::open_file(int directory, std::string name, const std::optional<Key>& key,
                                           const std::optional<std::string>& memory_path) {
    File file;
    file.file = TRY(open_regular(name, Link::refuse, directory));
    // With a key it does not matter who wrote it, and nothing is seen of what is written later.
    if (!key)
        TRY(check_only_we_write(file.file, name));
    file.name = std::move(name);
    const Header header = TRY(read_header(file.fd(), file.file.length, key));
    file.memory_at = header.memory_offset();
    if (header.memory_beside && memory_path) {
        if (memory_path->empty())
            return fail("its memory is in a file of its own: such a snapshot is loaded by PUT /snapshot/load with that "
                        "file as its mem_backend, into \"aerate run --no-start\" or \"aerate firecracker\"");
        auto memory = open_regular(*memory_path, Link::refuse);
        if (memory)
            if (auto ours = check_only_we_write(*memory, *memory_path); !ours)
                memory = std::unexpected(std::move(ours).error());
        if (!memory)
            return fail_because(std::move(memory).error(), "its memory in {}", *memory_path);
        file.memory = File::Memory{*memory_path, *std::move(memory)};
        if (file.memory->file.length != header.memory_length)
            return fail("{} has {} bytes, and the snapshot has {} of memory", *memory_path,
                        file.memory->file.length.value, header.memory_length.value);
    } else if (memory_path && !memory_path->empty()) {
        return fail("its memory is in the same file: name no other");
    }
    file.has_memory = !header.memory_beside || file.memory.has_value();
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
        auto opened = open_file(directory, name, key, "");
        if (!opened)
            return fail("its parent {}: {}", name, opened.error().message);
        if (std::ranges::any_of(files_, [&](const File& file) { return file.file.is(opened->file); }))
            return fail("its parent {} is a diff of it", name);
        if (!equal(opened->identity, identity))
            return fail("its parent {} is a different snapshot from the one that it was taken from", name);
        if (!same_regions(opened->manifest.regions, regions()))
            return fail("its parent {} has a different memory layout", name);
        files_.push_back(*std::move(opened));
    }
    return {};
}

std::vector<FileId> Snapshot::ancestors() const {
    std::vector<FileId> ancestors;
    for (const File& file : std::span(files_).subspan(1))
        ancestors.push_back({file.file.device, file.file.inode});
    return ancestors;
}

Result<Snapshot> Snapshot::open(const std::string& path, const std::optional<Key>& key) {
    return open(path, key, "");
}

Result<Snapshot> Snapshot::open(const std::string& path, const std::string& memory_path) {
    return open(path, std::nullopt, memory_path == path ? "" : memory_path);
}

Result<Snapshot> Snapshot::open_without_memory(const std::string& path) {
    return open(path, std::nullopt, std::nullopt);
}

std::optional<MemoryImage> Snapshot::memory_file_image() const {
    const File& file = files_.front();
    if (file.memory_at == Header::size)
        return std::nullopt;
    return MemoryImage{.regions = file.manifest.regions, .chunks = file.manifest.chunks};
}

Result<ByteCount> Snapshot::memory_offset() const {
    const File& file = files_.front();
    if (file.manifest.parent)
        return fail("cannot use the snapshot {}: it is a diff, of whose memory no file has all", file.name);
    return file.memory_at;
}

Result<Snapshot> Snapshot::open(const std::string& path, const std::optional<Key>& key,
                                const std::optional<std::string>& memory_path) {
    const FilePath parts(path);
    if (!is_file_name(parts.name))
        return fail("cannot use the snapshot '{}': the path does not end with the name of a file", path);
    const FileDescriptor directory =
        host::descriptor([&] { return ::open(parts.directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC); });
    if (!directory.valid())
        return fail_errno("cannot use the snapshot {}: its directory cannot be opened", path);

    auto file = open_file(directory.get(), parts.name, key, memory_path);
    if (!file)
        return fail_because(std::move(file).error(), "cannot use the snapshot {}", path);
    Snapshot snapshot{MemoryArea(file->manifest.regions)};
    snapshot.files_.push_back(*std::move(file));
    if (auto opened = snapshot.open_ancestors(directory.get(), key); !opened)
        return fail_because(std::move(opened).error(), "cannot use the snapshot {}", path);
    if (snapshot.files_.front().memory) {
        TRY(snapshot.check_memory_is_merged());
        TRY(snapshot.check_memory_belongs());
    }
    return snapshot;
}

} // namespace aerate::snapshot
