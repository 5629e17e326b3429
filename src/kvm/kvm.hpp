// The host's KVM: what /dev/kvm offers before there is a virtual machine.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/units.hpp"

#include <linux/kvm.h>

#include <vector>

namespace aerate {

class Kvm {
public:
    /// Fails, saying what to do about it, when the device cannot be opened or lacks something that the monitor needs.
    /// Success does not mean that guests run: see probe_hardware().
    [[nodiscard]] static Result<Kvm> open(const char* path = "/dev/kvm");

    /// Returns 0 when absent; some capabilities carry a number.
    [[nodiscard]] int capability(int number) const;
    /// Holds for a capability without which open() fails.
    [[nodiscard]] static bool requires_capability(int number);
    /// Returns the size of a vCPU's shared kvm_run area.
    [[nodiscard]] ByteCount run_area() const { return run_area_; }
    /// Returns what this host can show to a guest (KVM_GET_SUPPORTED_CPUID).
    [[nodiscard]] Result<std::vector<kvm_cpuid_entry2>> supported_cpuid() const;
    [[nodiscard]] int fd() const { return fd_.get(); }

private:
    explicit Kvm(FileDescriptor fd)
        : fd_(std::move(fd)) {}
    FileDescriptor fd_;
    ByteCount run_area_{};
};

} // namespace aerate
