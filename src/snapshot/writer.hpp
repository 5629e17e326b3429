// Writes a snapshot file. Pages come in any order, and again when they have changed; whole pages of zeros become holes,
// and so does all that is never mentioned. Nothing is at the path until finish() has succeeded, and a Writer that is
// destroyed before leaves nothing behind.
//
//     auto writer = TRY(Writer::create({.path = "vm.snap", .regions = layout.regions}));
//     for (...) TRY(writer.add(run, bytes));
//     TRY(writer.finish(config_json, device_state));
//
// One thread. While it writes it holds 8 KiB for each MiB that has data: the digests of single pages, so that a page
// can be replaced without reading the others back.
#pragma once

#include "base/error.hpp"
#include "memory/guest_memory.hpp"
#include "snapshot/file_operations.hpp"
#include "snapshot/manifest.hpp"
#include "snapshot/memory_area.hpp"
#include "snapshot/new_file.hpp"

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace aerate::snapshot {

class Writer {
public:
    struct Options {
        std::string path;
        std::vector<MemoryRegion> regions; ///< as MemoryLayout has them
        Existing existing = Existing::refuse;
        std::optional<Key> key{};
        /// Makes a diff: pages that are never mentioned are as there. Snapshot::as_parent(). See check_chain().
        std::optional<Parent> parent{};
        /// A file for memory alone, as it lies in the guest, its regions one after the other; empty: it is in the file.
        /// Without key and parent.
        std::string memory_path{};
        /// Makes a diff with such a file: pages that are never mentioned are as here, and not written. A file of the
        /// same length that is at memory_path already is merged with, as Firecracker does: it keeps them.
        std::optional<MemoryImage> base{};
        /// Asked while that is copied; true gives up.
        std::function<bool()> cancelled = [] { return false; };
    };

    [[nodiscard]] static Result<Writer> create(Options, FileOperations& = FileOperations::real());

    /// Adds a range of RAM, which holds `bytes`. Whatever changes meanwhile must be added again: what is hashed
    /// and what is written are two reads.
    [[nodiscard]] Result<> add(PageRange, std::span<const std::byte>);
    /// Adds a range of RAM that reads as zero.
    [[nodiscard]] Result<> drop(PageRange);
    /// Reads what chunks that have changed hold besides: their digests are of memory as it is once the diff has been
    /// merged. Once, after all else was added. REQUIRES: a base.
    [[nodiscard]] Result<> add_unchanged(GuestMemory&);
    /// Writes the rest, waits for the disk, and puts the file at its path. Returns the identity of the snapshot.
    [[nodiscard]] Result<Digest> finish(std::string config, std::vector<std::byte> state) &&;

    /// Returns the pages that hold data so far.
    [[nodiscard]] PageCount written() const { return written_; }
    /// Returns what memory is, with what has been added so far.
    [[nodiscard]] MemoryImage image() const { return {area_.regions(), chunks()}; }

private:
    using PageDigests = std::array<Digest, chunk_pages>;
    struct OpenChunk {
        PageSet data;
        PageSet zero;
        PageSet unchanged;                    ///< and not zero; with a base
        std::unique_ptr<PageDigests> digests; ///< once there was data
    };
    /// Pages of one chunk.
    struct Part {
        std::uint32_t chunk;
        unsigned first;
        unsigned count;
    };

    Writer(Options&&, NewFile, std::optional<NewFile> memory_file);
    [[nodiscard]] NewFile& memory() { return memory_file_ ? *memory_file_ : file_; }
    [[nodiscard]] ByteCount offset_of(std::uint32_t chunk, unsigned page) const;
    template <typename Visit>
    [[nodiscard]] Result<> for_each_part(PageRange, Visit&&);
    [[nodiscard]] Result<> add_part(const Part&, std::span<const std::byte>);
    [[nodiscard]] Result<> write_run(const Part&, std::span<const std::byte>);
    [[nodiscard]] Result<> drop_part(const Part&);
    [[nodiscard]] Result<> write_zeros(const Part&);
    [[nodiscard]] std::vector<Chunk> chunks() const;

    MemoryArea area_;
    std::optional<Key> key_;
    std::optional<Parent> parent_;
    std::optional<MemoryImage> base_;
    DigestKind kind_;
    NewFile file_;
    std::optional<NewFile> memory_file_;
    std::map<std::uint32_t, OpenChunk> chunks_;
    PageCount written_{};
    bool unchanged_added_ = false;
    bool broken_ = false; ///< a write failed: the file may not hold what the digests say
};

} // namespace aerate::snapshot
