#include "vhost_user/memory_table.hpp"

#include <algorithm>

namespace aerate::vhost_user {
namespace {

bool wraps(std::uint64_t start, std::uint64_t size) {
    return start + size < start;
}

/// REQUIRES: neither wraps.
bool overlap(std::uint64_t a, std::uint64_t a_size, std::uint64_t b, std::uint64_t b_size) {
    return a < b + b_size && b < a + a_size;
}

} // namespace

Result<> MemoryTable::add(const RegionDescription& added, FileDescriptor file) {
    if (added.size == 0 || wraps(added.guest_address, added.size) || wraps(added.user_address, added.size) ||
        wraps(added.mmap_offset, added.size))
        return fail("the memory region at {:#x} of {:#x} bytes is empty or wraps", added.guest_address, added.size);
    if (regions_.size() >= mem_slots_max)
        return fail("more than {} memory regions", mem_slots_max);
    for (const auto& [other, ignored] : regions_)
        if (overlap(added.guest_address, added.size, other.guest_address, other.size) ||
            overlap(added.user_address, added.size, other.user_address, other.size))
            return fail("the memory region at {:#x} of {:#x} bytes overlaps the one at {:#x}", added.guest_address,
                        added.size, other.guest_address);
    regions_.push_back({added, std::make_shared<const FileDescriptor>(std::move(file))});
    return {};
}

Result<> MemoryTable::remove(const RegionDescription& removed) {
    const auto found = std::ranges::find_if(regions_, [&](const Region& region) {
        return region.description.guest_address == removed.guest_address &&
               region.description.user_address == removed.user_address && region.description.size == removed.size;
    });
    if (found == regions_.end())
        return fail("there is no memory region at {:#x} of {:#x} bytes", removed.guest_address, removed.size);
    regions_.erase(found);
    return {};
}

ByteCount MemoryTable::address_space() const {
    ByteCount end{};
    for (const auto& [region, ignored] : regions_)
        end = std::max(end, ByteCount{region.guest_address + region.size});
    return end;
}

std::optional<GuestAddress> MemoryTable::translate(UserAddress address) const {
    for (const auto& [region, ignored] : regions_)
        if (address.value - region.user_address < region.size)
            return GuestAddress{region.guest_address + (address.value - region.user_address)};
    return std::nullopt;
}

Result<GuestMemory> MemoryTable::share() const {
    std::vector<SharedRegion> shared;
    shared.reserve(regions_.size());
    for (const auto& [region, file] : regions_)
        shared.push_back({{{region.guest_address}, {region.size}}, file->get(), {region.mmap_offset}});
    return GuestMemory::share(shared);
}

} // namespace aerate::vhost_user
