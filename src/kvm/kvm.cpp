#include "kvm/kvm.hpp"

#include "base/host.hpp"
#include "kvm/ioctl.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cstdint>

namespace aerate {
namespace {

struct RequiredCapability {
    int number;
    const char* name;
};

constexpr std::array required_capabilities{
    RequiredCapability{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    RequiredCapability{KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
    RequiredCapability{KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING"},
    RequiredCapability{KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
    RequiredCapability{KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
    RequiredCapability{KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR"},
    RequiredCapability{KVM_CAP_SET_IDENTITY_MAP_ADDR, "KVM_CAP_SET_IDENTITY_MAP_ADDR"},
    RequiredCapability{KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE"},
    RequiredCapability{KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
    RequiredCapability{KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK"},
    RequiredCapability{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
};

constexpr std::uint32_t cpuid_entries_limit = 256; // the kernel's KVM_MAX_CPUID_ENTRIES

std::unexpected<Error> explain_open(const char* path) {
    switch (errno) {
    case ENOENT:
        return fail(
            "cannot open {}: it does not exist: load the kvm_intel or kvm_amd module, and enable virtualisation "
            "in the firmware, or nested virtualisation if this is a virtual machine",
            path);
    case EACCES:
    case EPERM:
        return std::unexpected(Error{
            fmt::format("cannot open {}: permission denied: add yourself to the group kvm, then log in again", path),
            EACCES});
    default:
        return fail_errno("cannot open {}", path);
    }
}

} // namespace

Result<Kvm> Kvm::open(const char* path) {
    FileDescriptor fd = host::descriptor([&] { return ::open(path, O_RDWR | O_CLOEXEC); });
    if (!fd.valid())
        return explain_open(path);
    Kvm kvm(std::move(fd));

    const int version = ::ioctl(kvm.fd(), KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION)
        return fail("{} is not a usable KVM: its API version is {}, not {}", path, version, KVM_API_VERSION);
    for (const auto& required : required_capabilities)
        if (kvm.capability(required.number) <= 0)
            return fail("{} lacks {}: the host needs Linux 4.11 or newer on x86-64", path, required.name);
    const int size = TRY(call_kvm(kvm.fd(), KVM_GET_VCPU_MMAP_SIZE, "KVM_GET_VCPU_MMAP_SIZE"));
    kvm.run_area_ = ByteCount{static_cast<std::uint64_t>(size)};
    return kvm;
}

bool Kvm::requires_capability(int number) {
    return std::ranges::find(required_capabilities, number, &RequiredCapability::number) != required_capabilities.end();
}

int Kvm::capability(int number) const {
    return std::max(0, ::ioctl(fd_.get(), KVM_CHECK_EXTENSION, number));
}

Result<std::vector<kvm_cpuid_entry2>> Kvm::supported_cpuid() const {
    using Table = CountedEntries<kvm_cpuid_entry2>;
    Table table(cpuid_entries_limit);
    TRY(call_kvm(fd_.get(), Table::request(KVM_GET_SUPPORTED_CPUID), "KVM_GET_SUPPORTED_CPUID", table.argument()));
    const auto entries = table.entries();
    return std::vector(entries.begin(), entries.end());
}

} // namespace aerate
