// ioctl with an error that names the request.
#pragma once

#include <cerrno>
#include <cstddef>
#include <vector>

#include "base/error.hpp"

#include <sys/ioctl.h>

namespace aerate {

/// `argument` is an integer or a pointer, as the request wants it.
template <typename Argument = int>
[[nodiscard]] Result<int> call_kvm(int fd, unsigned long request, const char* name, Argument argument = {}) {
    int value;
    do {
        value = ::ioctl(fd, request, argument);
    } while (value < 0 && errno == EINTR);
    if (value < 0)
        return fail_errno("{}", name);
    return value;
}

/// A kernel structure that ends in a flexible array (kvm_cpuid2, kvm_msrs, kvm_irq_routing).
template <typename Header, typename Entry>
class FlexibleStruct {
public:
    explicit FlexibleStruct(std::size_t entries)
        : bytes_(sizeof(Header) + entries * sizeof(Entry)) {}
    [[nodiscard]] Header* get() { return reinterpret_cast<Header*>(bytes_.data()); }
    [[nodiscard]] Entry* entries() { return reinterpret_cast<Entry*>(bytes_.data() + sizeof(Header)); }
    Header* operator->() { return get(); }

private:
    std::vector<std::byte> bytes_;
};

} // namespace aerate
