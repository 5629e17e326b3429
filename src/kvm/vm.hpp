// A virtual machine as KVM sees it: memory slots, the interrupt controllers, eventfds tied to both.
//
// The machine has no legacy interrupt controller or timer in use: no PIT is created and interrupts are routed to the
// IOAPIC alone, one GSI a pin. A guest learns that from hardware-reduced ACPI tables, keeps time by kvmclock and the
// TSC, and skips the probing and calibration that the legacy devices would cost at boot.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "event/event_fd.hpp"
#include "kvm/cpu_template.hpp"
#include "kvm/dirty_method.hpp"
#include "kvm/kvm.hpp"
#include "kvm/vcpu.hpp"
#include "kvm/vm_state.hpp"
#include "memory/guest_address.hpp"
#include "memory/guest_memory.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace aerate {

class DirtyRings;

struct SlotId {
    std::uint32_t value{};
    auto operator<=>(const SlotId&) const = default;
};

enum class DirtyLogging : std::uint8_t { off, on };

struct MemorySlot {
    SlotId id;
    MappedRegion memory;
    DirtyLogging logging = DirtyLogging::off;
};

[[nodiscard]] constexpr PageRange frames_of(const MemorySlot& slot) {
    return {frame_of(slot.memory.guest.start), whole_pages_of(slot.memory.guest.length)};
}

/// A write of `length` bytes at `address` that signals an eventfd and does not stop the vCPU.
struct IoEvent {
    GuestAddress address;
    std::uint32_t length = 4;
    std::optional<std::uint64_t> value; ///< only this value signals; any when absent
};

class Vm {
public:
    /// REQUIRES: 1 <= vcpus <= max_vcpus.
    [[nodiscard]] static Result<Vm> create(const Kvm&, unsigned vcpus, DirtyMethod = DirtyMethod::eager_bitmap);
    ~Vm();
    Vm(Vm&&) noexcept;
    Vm& operator=(Vm&&) noexcept;

    static constexpr unsigned max_vcpus = 32;
    /// A log is of whole slots, and of those that hold something: see DirtyBitmap.
    static constexpr ByteCount largest_slot{16ULL << 30};
    static constexpr unsigned interrupt_lines = 24; ///< the IOAPIC's pins; GSI n is pin n

    /// Maps `memory` into the guest, or changes the logging of the slot. The mapping must outlive the Vm.
    [[nodiscard]] Result<void> set_memory_region(SlotId, const MappedRegion& memory, DirtyLogging = DirtyLogging::off);
    /// Maps all of it into the guest, in slots of at most `largest_slot`.
    [[nodiscard]] Result<void> map(std::span<const MappedRegion>);
    /// Sets logging for every slot at once. A slot's log starts empty.
    [[nodiscard]] Result<void> set_dirty_logging(DirtyLogging);
    [[nodiscard]] std::span<const MemorySlot> slots() const { return slots_; }
    /// Returns how the log works: see make_dirty_log().
    [[nodiscard]] DirtyMethod dirty_method() const { return dirty_method_; }
    /// Returns the rings with DirtyMethod::ring, else null.
    [[nodiscard]] DirtyRings* dirty_rings() const { return rings_.get(); }

    /// Turns a signal on `event` into an edge on the line. REQUIRES: gsi < interrupt_lines.
    [[nodiscard]] Result<void> connect_interrupt(const EventFd& event, std::uint32_t gsi);
    [[nodiscard]] Result<void> connect_io_event(const IoEvent&, const EventFd&);

    /// Returns a vCPU that is ready to run: CPUID, boot MSRs, FPU and local APIC set. vCPU 0 starts when run, once told
    /// where (Vcpu::enter); the others wait inside KVM for the guest's INIT and SIPI. REQUIRES: index < vcpus, each
    /// once; the Vm outlives it.
    [[nodiscard]] Result<std::unique_ptr<Vcpu>> create_vcpu(unsigned index, unsigned threads_per_core = 1);

    /// Begins the guest's time, before its first vCPU runs.
    [[nodiscard]] Result<> start_clock();
    /// Returns the host's time by its TSC, if that is what the host keeps its time by; from start_clock() or restore()
    /// on, while the guest's TSCs agree with each other.
    [[nodiscard]] std::optional<HostTime> host_time() const;

    /// Gives a vCPU the processor that the template says. Fails if this host cannot. REQUIRES: it has not run.
    [[nodiscard]] Result<> apply(const CpuTemplate&, const SavableState&, Vcpu&, unsigned threads_per_core) const;

    /// REQUIRES: no vCPU runs.
    [[nodiscard]] Result<VmState> save() const;
    /// Returns by how much kvmclock was set forward, which the TSCs are to follow.
    [[nodiscard]] Result<std::chrono::nanoseconds> restore(const VmState&,
                                                           ClockAfterRestore = ClockAfterRestore::goes_on);

    [[nodiscard]] std::span<const kvm_cpuid_entry2> supported_cpuid() const { return cpuid_; }
    [[nodiscard]] int fd() const { return fd_.get(); }

private:
    Vm(FileDescriptor fd, unsigned vcpus);
    Result<void> enable_dirty_method(DirtyMethod);
    Result<void> route_interrupts();

    FileDescriptor fd_;
    unsigned vcpus_;
    ByteCount run_area_{};
    std::vector<kvm_cpuid_entry2> cpuid_; ///< what the host supports
    bool tsc_deadline_timer_ = false;
    std::vector<MemorySlot> slots_;
    DirtyMethod dirty_method_ = DirtyMethod::eager_bitmap;
    std::unique_ptr<DirtyRings> rings_;
};

} // namespace aerate
