// A snapshot file, opened to be restored, together with the ones that it is a diff of.
//
//     const auto snapshot = TRY(Snapshot::open("vm.snap"));
//     TRY(snapshot.verify_memory([](ByteCount done, ByteCount all) { ... }));     // when asked to: it reads all of it
//     auto memory = TRY(GuestMemory::restore({.regions = snapshot.regions()}, snapshot.pieces()));
//
// The file is hostile: open() checks the seal before it looks at anything else, and all that it gives holds what it
// promises. It does not read memory: that is verify_memory()'s. Whoever may truncate the file while a guest runs from
// it can kill that guest (SIGBUS); replacing it by rename, as Writer does, is safe.
#pragma once

#include "base/error.hpp"
#include "base/regular_file.hpp"
#include "memory/file_piece.hpp"
#include "memory/guest_memory.hpp"
#include "snapshot/manifest.hpp"
#include "snapshot/memory_area.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace aerate::snapshot {

class Snapshot {
public:
    /// A diff of a diff of ... no longer than this.
    static constexpr std::size_t chain_max = 32;
    /// Each piece is a mapping of its own, which takes 4 to 10 us to make.
    static constexpr std::size_t pieces_max = 1024;

    /// Opens the file and its ancestors, which lie in the same directory. A regular file, no symbolic link. With a key,
    /// all must have been written with it; without one, all without.
    [[nodiscard]] static Result<Snapshot> open(const std::string& path, const std::optional<Key>& = {});

    [[nodiscard]] const std::vector<MemoryRegion>& regions() const { return area_.regions(); }
    [[nodiscard]] const std::string& config() const { return files_.front().manifest.config; }
    [[nodiscard]] const std::vector<std::byte>& state() const { return files_.front().manifest.state; }
    [[nodiscard]] const Digest& identity() const { return files_.front().identity; }
    /// What the manifest of a diff of this snapshot names.
    [[nodiscard]] Parent as_parent() const { return {files_.front().name, identity()}; }
    /// How many files the chain has: 1 without a parent.
    [[nodiscard]] std::size_t chain_length() const { return files_.size(); }
    /// Whether one of the chain's files has this name in their directory.
    [[nodiscard]] bool has_file(std::string_view name) const {
        return std::ranges::find(files_, name, &File::name) != files_.end();
    }

    /// Where the content of memory is, ascending; what is in no piece is zero. The descriptors are this object's.
    /// Where there would be more than `most` pieces, the smallest gaps between two of one file are bridged, when they
    /// read as zero there. More can remain when files alternate.
    [[nodiscard]] std::vector<FilePiece> pieces(std::size_t most = pieces_max) const;

    /// Reads all memory of all files and compares it with the digests; what should be a hole must read as zero.
    [[nodiscard]] Result<> verify_memory(const std::function<void(ByteCount done, ByteCount all)>& progress = {}) const;

private:
    struct File {
        [[nodiscard]] int fd() const { return file.fd.get(); }
        std::string name;
        RegularFile file;
        DigestKind kind{};
        Digest identity{};
        Manifest manifest;
    };
    explicit Snapshot(MemoryArea area)
        : area_(std::move(area)) {}
    [[nodiscard]] static Result<File> open_file(int directory, std::string name, const std::optional<Key>&);
    [[nodiscard]] Result<> open_ancestors(int directory, const std::optional<Key>&);
    /// A piece, and how many pages before it are zero here and in its file, back to the end of the piece before.
    struct Run {
        FilePiece piece;
        std::optional<std::uint64_t> gap; ///< nothing: they are not, or the piece before is of another file
    };
    [[nodiscard]] std::vector<Run> runs() const;
    [[nodiscard]] Result<> verify_chunk(const File&, const Chunk&) const;
    [[nodiscard]] Result<> verify_holes(const File&) const;

    MemoryArea area_;
    std::vector<File> files_; ///< this one first, then its parent, ...
};

} // namespace aerate::snapshot
