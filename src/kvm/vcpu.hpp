// One virtual CPU. Its thread calls run() again and again and serves each exit; other threads only call request_stop().
//
//     while (running) {
//         const Exit exit = TRY(vcpu.run());
//         std::visit(Overloaded{[&](const PortRead& r) { ports.read(r.port, r.data); }, ...}, exit);
//     }
//
// Stopping. request_stop() sets kvm_run.immediate_exit, so that the next KVM_RUN returns at once, and sends the thread
// a signal, so that a KVM_RUN in progress returns too. The signal (SIGUSR1) has a handler that does nothing: it is
// there to interrupt the ioctl, and must be neither blocked nor used otherwise in this process. The asker sets its own
// flag first; run() then returns Interrupted at least once, and the vCPU's thread looks at the flag.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/units.hpp"
#include "kvm/vcpu_state.hpp"
#include "memory/guest_address.hpp"

#include <linux/kvm.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace aerate {

class DirtyRings;

/// The spans of an exit point into the area shared with KVM and are valid until the next run(). A reader's span is
/// filled with the answer before then.
struct PortRead {
    std::uint16_t port;
    std::uint8_t width; ///< 1, 2 or 4; a string instruction asks for several of them in one exit
    std::span<std::byte> data;
};
struct PortWrite {
    std::uint16_t port;
    std::uint8_t width;
    std::span<const std::byte> data;
};
struct MmioRead {
    GuestAddress address;
    std::span<std::byte> data; ///< 1 to 8 bytes
};
struct MmioWrite {
    GuestAddress address;
    std::span<const std::byte> data;
};
/// request_stop(), or another signal, or its dirty ring had to be emptied. Exits that were served are complete, so the
/// registers may be saved now.
struct Interrupted {};
/// HLT, seen only without an in-kernel local APIC.
struct Halted {};
/// Triple fault: what a guest does that knows no better way to reset.
struct ShutDown {};
/// KVM_SYSTEM_EVENT_SHUTDOWN, _RESET, _CRASH.
struct SystemEvent {
    std::uint32_t type;
};
/// KVM cannot go on with this vCPU; `reason` is for a person, registers included.
struct Failed {
    std::string reason;
};

using Exit = std::variant<Interrupted, PortRead, PortWrite, MmioRead, MmioWrite, Halted, ShutDown, SystemEvent, Failed>;

/// The 64-bit entry point of the Linux boot protocol (Documentation/arch/x86/boot.rst, "64-bit Boot Protocol").
struct LongModeEntry {
    GuestAddress instruction;
    GuestAddress boot_params; ///< in RSI
    GuestAddress page_table;  ///< identity-mapped; in CR3
    GuestAddress gdt;         ///< four entries: null, null, 0x10 code, 0x18 data
};

/// The entry point of the PVH boot ABI (Xen's docs/misc/pvh.pandoc): 32-bit protected mode, flat segments, no paging.
struct ProtectedModeEntry {
    GuestAddress instruction;
    GuestAddress start_info; ///< in EBX
};

/// The guest's TSC is the host's and this, modulo 2^64.
struct TscOffset {
    std::uint64_t ticks = 0;
    std::uint32_t khz = 0; ///< of both
    bool operator==(const TscOffset&) const = default;
};

class Vcpu {
public:
    /// What Vm::create_vcpu() passes on.
    struct Config {
        int vm_fd;
        unsigned index;
        ByteCount run_area;
        std::vector<kvm_cpuid_entry2> cpuid; ///< as this vCPU's guest sees it
        DirtyRings* dirty_rings = nullptr;   ///< if the VM has them
    };
    [[nodiscard]] static Result<std::unique_ptr<Vcpu>> create(Config);
    ~Vcpu();
    Vcpu(const Vcpu&) = delete;
    Vcpu& operator=(const Vcpu&) = delete;

    [[nodiscard]] Result<void> enter(const LongModeEntry&);
    [[nodiscard]] Result<void> enter(const ProtectedModeEntry&);

    /// REQUIRES: it has not run yet.
    [[nodiscard]] Result<void> set_cpuid(std::vector<kvm_cpuid_entry2>);

    /// Runs the guest until it needs the monitor. One thread only; an error means that the host failed us.
    [[nodiscard]] Result<Exit> run();
    /// Makes run() return Interrupted soon, or its next call if it is not running. Any thread; never blocks.
    void request_stop();
    /// Makes the next run() complete the exit that was served and return, most often Interrupted. Its thread only.
    void interrupt_next_run();
    /// Tells the guest that it was stopped, so that its watchdogs do not take that for a hang (KVM_KVMCLOCK_CTRL).
    /// No-op for a guest that does not keep time by kvmclock.
    void notify_clock_paused();

    [[nodiscard]] unsigned index() const { return index_; }
    [[nodiscard]] Result<kvm_regs> registers() const;
    [[nodiscard]] Result<void> set_registers(const kvm_regs&);
    [[nodiscard]] Result<kvm_sregs> special_registers() const;
    [[nodiscard]] Result<void> set_special_registers(const kvm_sregs&);
    [[nodiscard]] int fd() const { return fd_.get(); }

    /// REQUIRES: it does not run, and every exit that was served is complete.
    [[nodiscard]] Result<VcpuState> save(const SavableState&) const;
    /// REQUIRES: it has not run yet. Interrupts that are raised before this returns are lost. The TSC is set forward by
    /// so much time.
    [[nodiscard]] Result<> restore(const VcpuState&, std::chrono::nanoseconds forward = {});
    /// Returns how its TSC follows the host's; nothing where KVM does not say, or where it runs at another rate.
    /// REQUIRES: it does not run.
    [[nodiscard]] std::optional<TscOffset> tsc_offset() const;

private:
    Vcpu(FileDescriptor fd, const Config&, kvm_run* run);
    Result<void> set_boot_msrs();
    Result<void> set_fpu();
    Result<void> set_local_apic();
    [[nodiscard]] Exit decode() const;
    [[nodiscard]] Exit decode_port() const;
    [[nodiscard]] Exit decode_mmio() const;
    [[nodiscard]] std::string describe_state() const;

    FileDescriptor fd_;
    unsigned index_;
    std::optional<std::uint32_t> host_khz_; ///< of the TSC, if KVM knows
    kvm_run* run_;
    ByteCount run_area_;
    std::vector<kvm_cpuid_entry2> cpuid_;
    DirtyRings* dirty_rings_;
    std::atomic<int> thread_{0}; ///< the kernel's ID of the thread in run(), 0 before the first call
};

} // namespace aerate
