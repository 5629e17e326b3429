// The front-end's memory table: which file is which part of the guest's RAM, and where the front-end itself has it
// mapped, for that is how it names rings.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "memory/guest_memory.hpp"
#include "vhost_user/wire.hpp"

#include <memory>
#include <optional>
#include <vector>

namespace aerate::vhost_user {

/// An address in the front-end's own address space.
struct UserAddress {
    std::uint64_t value{};
    auto operator<=>(const UserAddress&) const = default;
};

class MemoryTable {
public:
    /// Fails, with nothing added, when the region wraps, overlaps another one of the guest's or of the front-end's
    /// address space, or when there are mem_slots_max of them (V3). What the file has to hold, share() checks.
    [[nodiscard]] Result<> add(const RegionDescription&, FileDescriptor);
    /// Fails when there is no such region.
    [[nodiscard]] Result<> remove(const RegionDescription&);

    [[nodiscard]] bool empty() const { return regions_.empty(); }
    [[nodiscard]] std::size_t size() const { return regions_.size(); }
    /// Up to where the guest has memory.
    [[nodiscard]] ByteCount address_space() const;
    [[nodiscard]] std::optional<GuestAddress> translate(UserAddress) const;
    /// Maps all of it. The memory must not outlive the table's files: keep a copy of the table with it.
    [[nodiscard]] Result<GuestMemory> share() const;

private:
    struct Region {
        RegionDescription description;
        std::shared_ptr<const FileDescriptor> file; ///< of copies of the table too
    };
    std::vector<Region> regions_;
};

} // namespace aerate::vhost_user
