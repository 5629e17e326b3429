// The host's side of guest memory: one reserved stretch of address space for each region, with the backing mapped into
// it.
//
//     guard | region, 2 MiB aligned | guard        all PROT_NONE but the region, so that a stray access faults
//
// The mapping never moves after create(); its pages come and go, and FileBacking maps files and fresh memory over them.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "memory/file_loss.hpp"
#include "memory/guest_memory.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace aerate {

/// Every region's start and length is a multiple of this, guest-physical and in the monitor: huge pages need it.
/// Regions of another monitor's guest are as it made them.
inline constexpr ByteCount huge_page_size{2U << 20};

/// Fails if something is wrong with the layout.
[[nodiscard]] Result<> check_layout(const MemoryLayout&);

/// Returns where the range, which is in the region, is in the monitor.
[[nodiscard]] inline std::span<std::byte> host_bytes(const MappedRegion& region, PageRange range) {
    return {region.host + (address_of(range.first).value - region.guest.start.value), bytes_of(range.count).value};
}

// What every mapping of guest memory asks for. An unusual kernel may refuse; memory works without.
void advise_huge(std::span<std::byte>);
/// Keeps guest secrets out of our core dumps, and guest pages out of a fork's copy-on-write.
void advise_private(std::span<std::byte>);

class Mapping {
public:
    /// REQUIRES: check_layout() found nothing.
    [[nodiscard]] static Result<Mapping> create(const MemoryLayout&);

    /// See GuestMemory::share().
    [[nodiscard]] static Result<Mapping> share(std::span<const SharedRegion>);

    [[nodiscard]] std::span<const MappedRegion> regions() const { return regions_; }
    [[nodiscard]] Backing backing() const { return backing_; }
    [[nodiscard]] ByteCount host_page_size() const { return host_page_size_; }
    [[nodiscard]] bool lost() const;

private:
    class Reservation {
    public:
        [[nodiscard]] static Result<Reservation> of(ByteCount usable);
        Reservation(Reservation&& other) noexcept;
        Reservation& operator=(Reservation&&) = delete;
        ~Reservation();
        [[nodiscard]] std::byte* usable() const;

    private:
        Reservation(std::byte* base, ByteCount length)
            : base_(base)
            , length_(length) {}
        std::byte* base_;
        ByteCount length_;
    };

    explicit Mapping(Backing backing)
        : backing_(backing)
        , host_page_size_(backing == Backing::hugetlb ? huge_page_size : page_size) {}
    [[nodiscard]] Result<> map(const MemoryRegion&, int fd, ByteCount fd_offset);

    Backing backing_;
    ByteCount host_page_size_;
    FileDescriptor file_;
    std::vector<Reservation> reservations_;
    std::vector<MappedRegion> regions_;
    std::vector<FileLossWatch> watches_; ///< of shared regions; they go before what they watch
};

} // namespace aerate
