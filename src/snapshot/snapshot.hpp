// A snapshot file, opened to be restored, together with the ones that it is a diff of.
//
//     const auto snapshot = TRY(Snapshot::open("vm.snap"));
//     TRY(snapshot.verify_memory([](ByteCount done, ByteCount all) { ... }));    // when asked to: it reads all of it
//     auto memory = TRY(snapshot.restore({.regions = snapshot.regions()}));
//
// The file is hostile: open() checks the seal before it looks at anything else, and all that it gives holds what it
// promises. How far memory can be trusted depends on the key:
//
//                 restore()                          a page that is changed in the file
//     no key      maps the files: nothing is read    reaches the guest, before the start and after it
//     a key       copies them, then checks the copy  fails restore(), or comes too late to be seen
#pragma once

#include "base/error.hpp"
#include "base/regular_file.hpp"
#include "memory/file_piece.hpp"
#include "memory/guest_memory.hpp"
#include "snapshot/file_path.hpp"
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

/// Hears how much of what is to be read has been; false gives up.
using Progress = std::function<bool(ByteCount done, ByteCount all)>;
/// Returns the version of its format. Looks at nothing but the header, which must be whole.
[[nodiscard]] Result<std::uint32_t> version_of(const std::string& path);

class Snapshot {
public:
    /// A diff of a diff of ... no longer than this.
    static constexpr std::size_t chain_max = 32;
    /// Each piece is a mapping of its own, which takes 4 to 10 us to make.
    static constexpr std::size_t pieces_max = 1024;

    /// Opens the file and its ancestors, which lie in the same directory. A regular file, no symbolic link. With a key,
    /// all must have been written with it; without one, all without, and only our own user and root may be able to
    /// change them.
    [[nodiscard]] static Result<Snapshot> open(const std::string& path, const std::optional<Key>& = {});
    /// The same of one whose memory is in a file of its own, as Writer::Options::memory_path had it. That a memory file
    /// of another snapshot is given is found by samples of it, and for certain by verify_memory().
    [[nodiscard]] static Result<Snapshot> open(const std::string& path, const std::string& memory_path);
    /// The same of one whose memory somebody else supplies: a file that has nothing else is not opened.
    [[nodiscard]] static Result<Snapshot> open_without_memory(const std::string& path);
    /// Holds unless its memory is in such a file. Without it there are no pieces(), and nothing to restore or verify.
    [[nodiscard]] bool has_memory() const { return files_.front().has_memory; }
    /// Returns where memory begins, in the file that has it. Fails when no file has all of it: it is a diff.
    [[nodiscard]] Result<ByteCount> memory_offset() const;

    [[nodiscard]] const std::vector<MemoryRegion>& regions() const { return area_.regions(); }
    [[nodiscard]] const std::string& config() const { return files_.front().manifest.config; }
    [[nodiscard]] const std::vector<std::byte>& state() const { return files_.front().manifest.state; }
    [[nodiscard]] const Digest& identity() const { return files_.front().identity; }
    /// Returns what its memory file holds; nothing when memory is in the same file.
    [[nodiscard]] std::optional<MemoryImage> memory_file_image() const;
    /// Returns what the manifest of a diff of this snapshot names.
    [[nodiscard]] Parent as_parent() const { return {files_.front().name, identity()}; }
    /// Returns the files that this one is a diff of, its parent first.
    [[nodiscard]] std::vector<FileId> ancestors() const;
    /// Returns how many files the chain has: 1 without a parent.
    [[nodiscard]] std::size_t chain_length() const { return files_.size(); }
    /// Returns whether one of the chain's files has this name in their directory.
    [[nodiscard]] bool has_file(std::string_view name) const {
        return std::ranges::find(files_, name, &File::name) != files_.end();
    }

    /// Returns where the content of memory is, ascending; what is in no piece is zero. The descriptors are this
    /// object's. Where there would be more than `most` pieces, the smallest gaps between two of one file are bridged,
    /// when they read as zero there. More can remain when files alternate.
    [[nodiscard]] std::vector<FilePiece> pieces(std::size_t most = pieces_max) const;

    /// Returns memory with the content of the files, or of some of their regions. Without a key they are mapped: see
    /// GuestMemory::restore(). With one, each chunk is copied first and authenticated then, so that no user who can
    /// write the files can change what was checked; fails at the first chunk that is not what was sealed.
    [[nodiscard]] Result<GuestMemory> restore(const MemoryLayout&, const Progress& = {}) const;
    /// Holds when memory comes from restore() as it was sealed, and no page of it is a file's.
    [[nodiscard]] bool authenticates_memory() const { return files_.front().kind == DigestKind::sha256; }

    /// Reads all memory of all files and compares it with the digests; what should be a hole must read as zero.
    [[nodiscard]] Result<> verify_memory(const Progress& = {}) const;

private:
    struct File {
        struct Memory {
            std::string name;
            RegularFile file;
        };
        [[nodiscard]] int fd() const { return file.fd.get(); }
        [[nodiscard]] int memory_fd() const { return memory ? memory->file.fd.get() : fd(); }
        std::string name;
        RegularFile file;
        DigestKind kind{};
        Digest identity{};
        Manifest manifest;
        std::optional<Memory> memory; ///< in a file of its own
        ByteCount memory_at{};        ///< in the file that has it
        bool has_memory = true;       ///< that file is open
    };
    explicit Snapshot(MemoryArea area)
        : area_(std::move(area)) {}
    [[nodiscard]] static Result<Snapshot> open(const std::string& path, const std::optional<Key>&,
                                               const std::optional<std::string>& memory_path);
    /// Without a path of its memory that is not opened.
    [[nodiscard]] static Result<File> open_file(int directory, std::string name, const std::optional<Key>&,
                                                const std::optional<std::string>& memory_path);
    [[nodiscard]] Result<> check_memory_belongs() const;
    [[nodiscard]] Result<> check_memory_is_merged() const;
    [[nodiscard]] Result<> open_ancestors(int directory, const std::optional<Key>&);
    /// A piece, and how many pages before it are zero here and in its file, back to the end of the piece before.
    struct Run {
        FilePiece piece;
        std::optional<std::uint64_t> gap; ///< nothing: they are not, or the piece before is of another file
    };
    [[nodiscard]] std::vector<Run> runs() const;
    [[nodiscard]] std::vector<std::uint32_t> chunk_indices() const;
    [[nodiscard]] unsigned data_pages(std::uint32_t index) const;
    [[nodiscard]] Result<> copy_memory(GuestMemory&, const Progress&) const;
    [[nodiscard]] Result<> copy_chunk(std::uint32_t index, std::span<std::byte, chunk_size.value> buffer,
                                      GuestMemory&) const;
    [[nodiscard]] Result<> verify_holes(const File&) const;

    MemoryArea area_;
    std::vector<File> files_; ///< this one first, then its parent, ...
};

} // namespace aerate::snapshot
