// Which device answers at an address of the guest's. One shape for I/O ports and for memory-mapped registers:
//
//     PioBus ports;
//     CHECK(ports.add(com1, Port{8}, serial));
//     ports.read(port, bytes);                     // vCPU threads, after an I/O exit
//
// Filled while the machine is assembled and not changed once a vCPU runs, hence without a lock.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace aerate {

/// Answers accesses at offsets from its own base, on any vCPU thread.
template <typename Device>
concept BusDevice =
    requires(Device& device, std::uint64_t offset, std::span<std::byte> into, std::span<const std::byte> from) {
        device.read(offset, into);
        device.write(offset, from);
    };

/// `Address` is a strong type around an unsigned `value`.
template <typename Address>
class Bus {
public:
    using Length = decltype(Address::value);

    /// Borrows the device. False, and nothing added, when the range is empty, wraps, or overlaps one that is there.
    template <BusDevice Device>
    [[nodiscard]] bool add(Address first, Length length, Device& device) {
        return insert({first.value, static_cast<std::uint64_t>(first.value) + (length - 1U), &device,
                       [](void* self, std::uint64_t offset, std::span<std::byte> into) {
                           static_cast<Device*>(self)->read(offset, into);
                       },
                       [](void* self, std::uint64_t offset, std::span<const std::byte> from) {
                           static_cast<Device*>(self)->write(offset, from);
                       }},
                      length);
    }

    /// Reads all ones where no device is, as on a PC's bus, and loses writes. So does an access that only
    /// partly lies in a device. False tells the caller, who may count it.
    bool read(Address address, std::span<std::byte> into) const {
        const Entry* entry = find(address.value, into.size());
        if (entry == nullptr) {
            std::ranges::fill(into, std::byte{0xff});
            return false;
        }
        entry->read(entry->device, address.value - entry->first, into);
        return true;
    }
    bool write(Address address, std::span<const std::byte> from) const {
        const Entry* entry = find(address.value, from.size());
        if (entry == nullptr)
            return false;
        entry->write(entry->device, address.value - entry->first, from);
        return true;
    }

private:
    struct Entry {
        std::uint64_t first;
        std::uint64_t last;
        void* device;
        void (*read)(void*, std::uint64_t, std::span<std::byte>);
        void (*write)(void*, std::uint64_t, std::span<const std::byte>);
    };

    [[nodiscard]] bool insert(const Entry& entry, Length length) {
        if (length == 0 || entry.last < entry.first)
            return false;
        const auto above = std::ranges::upper_bound(entries_, entry.first, {}, &Entry::first);
        if (above != entries_.end() && above->first <= entry.last)
            return false;
        if (above != entries_.begin() && std::prev(above)->last >= entry.first)
            return false;
        entries_.insert(above, entry);
        return true;
    }

    [[nodiscard]] const Entry* find(std::uint64_t address, std::size_t length) const {
        const auto above = std::ranges::upper_bound(entries_, address, {}, &Entry::first);
        if (above == entries_.begin() || length == 0)
            return nullptr;
        const Entry& entry = *std::prev(above);
        return address <= entry.last && length - 1 <= entry.last - address ? &entry : nullptr;
    }

    std::vector<Entry> entries_; ///< ascending, not overlapping
};

} // namespace aerate
