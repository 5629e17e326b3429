// The guest's physical memory, mapped into the monitor. Everything of the guest's is read and written through this
// class: its addresses are the guest's choice and each access is checked against the regions, which never change after
// create().
//
//     auto memory = TRY(GuestMemory::create({.regions = layout, .backing = Backing::anonymous}));
//     std::array<std::byte, 16> descriptor;
//     if (!memory.read(address, descriptor)) ...            // outside RAM: the guest's fault, the caller decides
//
// Any thread. Copies are plain byte copies: a guest that writes meanwhile gets torn data, never a fault of ours, so
// copy once and then look.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/units.hpp"
#include "memory/file_piece.hpp"
#include "memory/guest_address.hpp"
#include "memory/write_log.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace aerate {

enum class Backing : std::uint8_t {
    anonymous, ///< private, transparent huge pages: a 2 MiB discard costs microseconds
    memfd,     ///< shared file, sealed SHRINK|GROW|SEAL: for other processes that must map it; reading a page
               ///< that was never written allocates it (seen on Linux 6.18). Or the files of another process: share()
    hugetlb,   ///< anonymous 2 MiB pages, reserved in the host's pool: discarded pages are free, not unreserved
};

enum class HugePages : std::uint8_t { allowed, refused };

struct MemoryRegion {
    GuestAddress start;
    ByteCount length; ///< a multiple of 2 MiB, as is `start`
};

[[nodiscard]] constexpr PageRange frames_of(const MemoryRegion& region) {
    return {frame_of(region.start), whole_pages_of(region.length)};
}

struct MemoryLayout {
    std::vector<MemoryRegion> regions; ///< ascending, not overlapping, at least one
    Backing backing = Backing::anonymous;
};

/// RAM that is another process's file, from `offset` on. The file may hold more.
struct SharedRegion {
    MemoryRegion guest; ///< of whole pages, wherever they begin
    int fd = -1;
    ByteCount offset; ///< a multiple of the page size
};

/// Who supplies the content of guest memory, page by page: see FaultHandler.
struct FaultHandlerPlace {
    std::string socket; ///< at which the handler listens
    ByteCount offset{}; ///< of the first region in what the handler has; the others follow
};

/// Where one region is in the monitor: what KVM and vhost-user need to map it.
struct MappedRegion {
    MemoryRegion guest;
    std::byte* host = nullptr;
    int fd = -1; ///< of a memfd, else -1
    ByteCount fd_offset{};
};

/// What discarding gave back, or would have.
struct DiscardResult {
    PageCount discarded{};     ///< pages handed to the host; they read as zero from now on
    PageCount skipped{};       ///< outside RAM, or not a whole host page
    unsigned system_calls = 0; ///< also those that failed
    int system_error = 0;      ///< errno of the last call that failed; its pages count as skipped
};

class GuestMemory {
public:
    /// Reserves address space; a page costs nothing until it is touched. Fails, saying what to change, when the layout
    /// is not as MemoryLayout asks, ends above 16 TiB, or the host does not have enough (hugetlb: pages in the pool).
    [[nodiscard]] static Result<GuestMemory> create(const MemoryLayout&);
    /// The same, with the content of files in it; the rest is zero. Anonymous memory maps the pieces privately: nothing
    /// is read now, guests from one file share its clean pages, and the files are never written. What is changed in
    /// them where no lease can be had reaches the guest; what is cut off is lost(). Beyond mapped_pieces_max the
    /// smallest pieces are read; with memfd and hugetlb all are. Fails when a piece is outside RAM, overlaps another,
    /// is not page-aligned or goes beyond the end of its file.
    [[nodiscard]] static Result<GuestMemory> restore(const MemoryLayout&, std::span<const FilePiece>);
    static constexpr std::size_t mapped_pieces_max = 4096;
    /// The same, with content that a page fault handler supplies when a page is touched. Fails when there is none at
    /// the socket, or the host does not allow it.
    [[nodiscard]] static Result<GuestMemory> restore(const MemoryLayout&, const FaultHandlerPlace&);
    /// Maps the files that another monitor shared for its guest, in any order. The descriptors must stay open. Fails
    /// when regions overlap, are not whole pages, end above 16 TiB or beyond their file, or when a file is not one to
    /// map: see ForeignFile.
    [[nodiscard]] static Result<GuestMemory> share(std::span<const SharedRegion>);
    GuestMemory(GuestMemory&&) noexcept;
    GuestMemory& operator=(GuestMemory&&) noexcept;
    ~GuestMemory();

    /// Returns false, and copies nothing, unless the whole range is RAM. Ranges may span adjacent regions. An empty
    /// range is RAM wherever it is.
    [[nodiscard]] bool read(GuestAddress, std::span<std::byte> into) const;
    [[nodiscard]] bool write(GuestAddress, std::span<const std::byte> from);
    [[nodiscard]] bool fill(GuestAddress, ByteCount length, std::byte value);

    /// Accesses an aligned value (ring indices) atomically. Acquire and release; nullopt or false when outside RAM or
    /// unaligned. T: std::uint8_t, uint16_t, uint32_t or uint64_t.
    template <std::unsigned_integral T>
    [[nodiscard]] std::optional<T> load(GuestAddress) const;
    template <std::unsigned_integral T>
    [[nodiscard]] bool store(GuestAddress, T value);

    [[nodiscard]] bool contains(GuestAddress, ByteCount length) const;
    /// Returns the bytes at the address, when they are in one region: for system calls that fill guest memory
    /// (io_uring). Code that writes through it calls wrote() afterwards.
    [[nodiscard]] std::optional<std::span<std::byte>> span(GuestAddress, ByteCount length);
    void wrote(GuestAddress, ByteCount length);
    /// Returns whether the page is RAM and all of it reads as zero. Stops at the first byte that does not, which in a
    /// page with data is an early one. A page that the host does not hold costs a look at the shared zero page.
    [[nodiscard]] bool is_zero(FrameNumber) const;

    /// Gives the pages back to the host. Ranges are clipped to RAM, rounded inwards to whole host pages, coalesced
    /// where adjacent, and handed over in as few system calls as the kernel allows. Afterwards they read as zero.
    /// Recorded in write_log(), since it changes what the guest reads. Never allocates; other threads may read and
    /// write meanwhile.
    DiscardResult discard(std::span<const PageRange>);

    /// Says whether the host may make what is touched from now on of huge pages, which anonymous memory is by default.
    /// `pages` begin and end at 2 MiB. False where the host or the backing knows no such choice.
    bool use_huge_pages(HugePages, PageRange pages) const;

    /// Reads pages that are still a file's ahead of their use, as far as the kernel will. Other pages are left alone.
    void prefetch(std::span<const PageRange>) const;
    /// Adds the pages that are still a file's and have been touched: what to prefetch the next time. The kernel maps
    /// what is cached near a fault along with it (16 pages), and those count too.
    void collect_touched(PageBitmap& into) const;
    /// Adds every page that may hold anything but zero: what a snapshot has to look at. Pages of files that nobody has
    /// touched are among them, those that a handler has yet to supply, and what has been swapped out.
    void collect_populated(PageBitmap& into, PageRange in = every_page) const;
    /// Returns whether collect_populated() passes over what holds nothing at once, as Linux can from 6.7 on.
    [[nodiscard]] bool passes_over_holes() const;

    /// Returns what the host spends on this memory alone: see Residency for what counts and what it costs to ask.
    [[nodiscard]] ByteCount resident() const;
    /// Returns what is mapped beside that, of files that the memory was restored from, and shared with other guests of
    /// theirs. Together with resident() that is the RSS of guest RAM.
    [[nodiscard]] ByteCount shared() const;
    /// Returns what resident() is at most, at a cost that does not grow with the memory: anonymous memory of the
    /// monitor itself is in it, since the kernel counts both together. Nothing where the host does not say: of huge
    /// pages from its pool.
    [[nodiscard]] std::optional<ByteCount> resident_at_most() const;
    /// Adds every page that resident() counts, of these pages unless that is null. To read them waits for no disk and
    /// no handler.
    void collect_resident(PageBitmap& into, const PageBitmap* of = nullptr) const;
    /// Returns how many of the set pages the host holds in RAM now.
    [[nodiscard]] PageCount resident_within(const PageBitmap&) const;
    [[nodiscard]] ByteCount size() const;
    /// Returns one past the last frame of RAM: the size of a PageBitmap for this guest.
    [[nodiscard]] PageCount address_space() const;
    /// Holds once a file beneath this memory was found too short, unreadable, or its filesystem full. What a shared
    /// file held reads as zero then, and what is written there goes nowhere; nothing of it is discarded any more. What
    /// was restored from a file lacks pages, which read as zero; it also counts as lost when a process is about to
    /// write to that file, and waits for give_up_files(). See FileLossWatch and FileLease. Likewise once its page fault
    /// handler has ended.
    [[nodiscard]] bool lost() const;
    /// Holds when it is the page fault handler that was lost.
    [[nodiscard]] bool lost_its_handler() const;
    /// Returns an eventfd that is readable when restored memory may have been lost, until it is read; -1 when no file
    /// or handler is beneath it.
    [[nodiscard]] int loss_event() const;
    /// REQUIRES: the guest runs no further.
    void give_up_files();
    /// Waits for no page any more that a handler has yet to supply. REQUIRES: nobody needs the memory.
    void give_up_handler();
    /// Returns the unit of discarding: 4 KiB, or 2 MiB for hugetlb.
    [[nodiscard]] ByteCount host_page_size() const;
    [[nodiscard]] Backing backing() const;
    [[nodiscard]] std::span<const MappedRegion> regions() const;
    [[nodiscard]] WriteLog& write_log();

private:
    struct Impl;
    explicit GuestMemory(std::unique_ptr<Impl>);
    std::unique_ptr<Impl> impl_;
};

} // namespace aerate
