#include "memory/mapping.hpp"

#include "base/host.hpp"
#include "memory/fixed_mapping.hpp"

#include <fcntl.h>

#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/resource.h>

namespace aerate {
namespace {

// MAP_HUGE_2MB and MFD_NOEXEC_SEAL (Linux 6.3) are younger than the oldest headers we build with.
constexpr int map_huge_2mb = 21 << 26;
constexpr unsigned memfd_noexec_seal = 0x0008U;

// 16 TiB: a bitmap of it is 512 MiB of (mostly untouched) address space.
constexpr ByteCount address_space_max{1ULL << 44};

constexpr bool huge_aligned(std::uint64_t value) {
    return value % huge_page_size.value == 0;
}

ByteCount total_of(const MemoryLayout& layout) {
    ByteCount total{};
    for (const MemoryRegion& region : layout.regions)
        total += region.length;
    return total;
}

// A file beyond RLIMIT_FSIZE is not an error but a SIGXFSZ (inode_newsize_ok in fs/attr.c), so look first.
Result<> check_file_size_limit(ByteCount size) {
    rlimit limit{};
    if (::getrlimit(RLIMIT_FSIZE, &limit) != 0)
        return fail_errno("cannot read RLIMIT_FSIZE");
    if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < size.value)
        return fail("guest memory of {} bytes is a memfd, and the file size limit is {}: raise it (ulimit -f)",
                    size.value, limit.rlim_cur);
    return {};
}

// Sealed before anyone else can have it: a process that maps it can neither make us fault by shrinking it nor grow it.
// Not F_SEAL_FUTURE_WRITE, which also forbids punching holes (mm/shmem.c, shmem_fallocate).
Result<FileDescriptor> sealed_memfd(ByteCount size) {
    TRY(check_file_size_limit(size));
    FileDescriptor file = host::descriptor(
        [] { return ::memfd_create("guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING | memfd_noexec_seal); });
    if (!file.valid() && errno == EINVAL)
        file = host::descriptor([] { return ::memfd_create("guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING); });
    if (!file.valid())
        return fail_errno("cannot create a memfd for guest memory");
    if (::ftruncate(file.get(), static_cast<off_t>(size.value)) != 0)
        return fail_errno("cannot size the memfd of guest memory to {} bytes", size.value);
    if (::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return fail_errno("cannot seal the memfd of guest memory");
    return file;
}

} // namespace

Result<> check_layout(const MemoryLayout& layout) {
    if (layout.regions.empty())
        return fail("the memory layout has no region");
    GuestAddress previous_end{};
    for (const auto& [start, length] : layout.regions) {
        if (length.value == 0)
            return fail("the memory region at {:#x} is empty", start.value);
        if (!huge_aligned(start.value) || !huge_aligned(length.value))
            return fail("the memory region at {:#x} of {:#x} bytes does not start and end at multiples of 2 MiB",
                        start.value, length.value);
        const auto end = start.plus(length);
        if (!end || end->value > address_space_max.value)
            return fail("the memory region at {:#x} of {:#x} bytes ends above 16 TiB", start.value, length.value);
        if (start < previous_end)
            return fail("the memory region at {:#x} overlaps the one before it or is out of order", start.value);
        previous_end = *end;
    }
    return {};
}

void advise_huge(std::span<std::byte> bytes) {
    ::madvise(bytes.data(), bytes.size(), MADV_HUGEPAGE);
}

void advise_private(std::span<std::byte> bytes) {
    ::madvise(bytes.data(), bytes.size(), MADV_DONTDUMP);
    ::madvise(bytes.data(), bytes.size(), MADV_DONTFORK);
}

Result<Mapping::Reservation> Mapping::Reservation::of(ByteCount usable) {
    // Twice the alignment: up to one for aligning, the rest for a guard on both sides.
    const ByteCount length = bytes_of(pages_covering(usable)) + huge_page_size + huge_page_size;
    void* base = host::map(nullptr, length.value, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return fail_errno("cannot reserve {} bytes of address space for guest memory", length.value);
    return Reservation(static_cast<std::byte*>(base), length);
}

Mapping::Reservation::Reservation(Reservation&& other) noexcept
    : base_(std::exchange(other.base_, nullptr))
    , length_(other.length_) {}

Mapping::Reservation::~Reservation() {
    if (base_ != nullptr)
        ::munmap(base_, length_.value);
}

std::byte* Mapping::Reservation::usable() const {
    const auto misalignment = reinterpret_cast<std::uintptr_t>(base_) % huge_page_size.value;
    return base_ + (huge_page_size.value - misalignment);
}

Result<> Mapping::map(const MemoryRegion& region, int fd, ByteCount fd_offset) {
    reservations_.push_back(TRY(Reservation::of(region.length)));
    std::byte* const host = reservations_.back().usable();

    int flags = 0;
    switch (backing_) {
    case Backing::anonymous:
        flags |= MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        break;
    case Backing::memfd:
        flags |= MAP_SHARED | MAP_NORESERVE;
        break;
    case Backing::hugetlb:
        // Without MAP_NORESERVE: too small a pool fails here, and not as a SIGBUS when the guest touches its memory.
        flags |= MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | map_huge_2mb;
        break;
    }
    const std::span bytes(host, region.length.value);
    if (map_over(bytes, PROT_READ | PROT_WRITE, flags, fd, static_cast<off_t>(fd_offset.value)) != FixedMapping::made) {
        if (backing_ == Backing::hugetlb)
            return fail_errno("cannot map {} huge pages of 2 MiB: reserve more in /proc/sys/vm/nr_hugepages",
                              region.length.value / huge_page_size.value);
        return fail_errno("cannot map {} bytes of guest memory", region.length.value);
    }
    regions_.push_back({.guest = region, .host = host, .fd = fd, .fd_offset = fd_offset});

    if (backing_ == Backing::anonymous)
        advise_huge(bytes);
    advise_private(bytes);
    return {};
}

Result<Mapping> Mapping::create(const MemoryLayout& layout) {
    Mapping mapping(layout.backing);
    mapping.reservations_.reserve(layout.regions.size());
    mapping.regions_.reserve(layout.regions.size());
    if (layout.backing == Backing::memfd)
        mapping.file_ = TRY(sealed_memfd(total_of(layout)));
    ByteCount fd_offset{};
    for (const MemoryRegion& region : layout.regions) {
        TRY(mapping.map(region, mapping.file_.get(), fd_offset));
        if (layout.backing == Backing::memfd)
            fd_offset += region.length;
    }
    return mapping;
}

} // namespace aerate
