// ioctl with an error that names the request.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/host.hpp"

#include <sys/ioctl.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace aerate {

/// `argument` is an integer or a pointer, as the request wants it.
template <typename Argument = int>
[[nodiscard]] Result<int> call_kvm(int fd, unsigned long request, const char* name, Argument argument = {}) {
    int value;
    do {
        value = ::ioctl(fd, request, argument);
    } while (value < 0 && errno == EINTR);
    if (value < 0)
        return fail_errno("the host's KVM refuses {}", name);
    return value;
}

/// Makes a request that returns a descriptor: a VM, a vCPU.
template <typename Argument = int>
[[nodiscard]] Result<FileDescriptor> make_kvm(int fd, unsigned long request, const char* name, Argument argument = {}) {
    if (host::refuses(host::Resource::descriptor))
        return fail_errno("{}", name);
    return FileDescriptor(TRY(call_kvm(fd, request, name, argument)));
}

/// An argument that is a count and then so many entries: kvm_cpuid2, kvm_msrs, kvm_irq_routing, and, with a header of
/// four bytes, kvm_msr_list. Those types themselves
/// are of no use in C++: some kernel headers (6.1) put an empty struct before the entries, which has a size in C++
/// only, so that the entries and the ioctl's number would both be wrong.
template <typename Entry, std::size_t Header = 2 * sizeof(std::uint32_t)> // the count, and flags or padding
class CountedEntries {
public:
    explicit CountedEntries(std::uint32_t count)
        : bytes_(Header + count * sizeof(Entry)) {
        std::memcpy(bytes_.data(), &count, sizeof count);
    }
    [[nodiscard]] void* argument() { return bytes_.data(); }
    [[nodiscard]] std::span<Entry> entries() {
        std::uint32_t count;
        std::memcpy(&count, bytes_.data(), sizeof count);
        return {reinterpret_cast<Entry*>(bytes_.data() + Header), count};
    }
    /// Returns the number of an ioctl that takes one of these.
    [[nodiscard]] static constexpr unsigned long request(unsigned long number) {
        constexpr unsigned long mask = static_cast<unsigned long>(_IOC_SIZEMASK) << _IOC_SIZESHIFT;
        return (number & ~mask) | Header << _IOC_SIZESHIFT;
    }

private:
    std::vector<std::byte> bytes_;
};

} // namespace aerate
