#include "kvm/vm.hpp"

#include "base/check.hpp"
#include "kvm/cpuid.hpp"
#include "kvm/dirty_ring.hpp"
#include "kvm/ioctl.hpp"

#include <algorithm>
#include <bit>

namespace aerate {
namespace {

// Three pages for real mode's TSS and one for the identity page table: Intel processors without unrestricted guest
// support need them outside RAM, below 4 GiB, set before the first vCPU. The rest of the hole's top is the BIOS's.
constexpr std::uint64_t tss_pages = 0xfffbd000;
constexpr std::uint64_t identity_map_page = 0xfffbc000;

Result<kvm_clock_data> get_clock(int fd) {
    kvm_clock_data clock{};
    TRY(call_kvm(fd, KVM_GET_CLOCK, "KVM_GET_CLOCK", &clock));
    return clock;
}

std::uint64_t time_of_day() {
    return static_cast<std::uint64_t>(
        std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count());
}

} // namespace

Vm::Vm(FileDescriptor fd, unsigned vcpus)
    : fd_(std::move(fd))
    , vcpus_(vcpus) {}

Vm::~Vm() = default;
Vm::Vm(Vm&&) noexcept = default;
Vm& Vm::operator=(Vm&&) noexcept = default;

Result<Vm> Vm::create(const Kvm& kvm, unsigned vcpus, DirtyMethod method) {
    CHECK(vcpus >= 1 && vcpus <= max_vcpus);
    if (const int limit = kvm.capability(KVM_CAP_MAX_VCPUS); limit > 0 && vcpus > static_cast<unsigned>(limit))
        return fail("{} vCPUs requested, this host's KVM allows {}", vcpus, limit);
    TRY(check_offered(kvm, method));
    Vm vm(TRY(make_kvm(kvm.fd(), KVM_CREATE_VM, "KVM_CREATE_VM")), vcpus);
    TRY(vm.enable_dirty_method(method));
    vm.run_area_ = kvm.run_area();
    vm.cpuid_ = TRY(kvm.supported_cpuid());
    vm.tsc_deadline_timer_ = kvm.capability(KVM_CAP_TSC_DEADLINE_TIMER) > 0;

    std::uint64_t identity_map = identity_map_page;
    TRY(call_kvm(vm.fd(), KVM_SET_IDENTITY_MAP_ADDR, "KVM_SET_IDENTITY_MAP_ADDR", &identity_map));
    TRY(call_kvm(vm.fd(), KVM_SET_TSS_ADDR, "KVM_SET_TSS_ADDR", tss_pages));
    TRY(call_kvm(vm.fd(), KVM_CREATE_IRQCHIP, "KVM_CREATE_IRQCHIP"));
    TRY(vm.route_interrupts());
    return vm;
}

Result<void> Vm::enable_dirty_method(DirtyMethod method) {
    dirty_method_ = method;
    kvm_enable_cap enable{};
    switch (method) {
    case DirtyMethod::eager_bitmap:
        return {};
    case DirtyMethod::manual_bitmap:
        enable.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2;
        enable.args[0] = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;
        break;
    case DirtyMethod::manual_bitmap_sliced:
        enable.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2;
        enable.args[0] = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET;
        break;
    case DirtyMethod::ring:
        enable.cap = KVM_CAP_DIRTY_LOG_RING_ACQ_REL;
        enable.args[0] = DirtyRing::length.value;
        rings_ = std::make_unique<DirtyRings>(fd_.get());
        break;
    }
    if (auto enabled = call_kvm(fd_.get(), KVM_ENABLE_CAP, "KVM_ENABLE_CAP", &enable); !enabled)
        return fail("cannot track what the guest writes by {}: {}", name_of(method), enabled.error().message);
    return {};
}

/// Replaces KVM's default routes, which would raise the lines of the PIC too, and no driver sets that up.
Result<void> Vm::route_interrupts() {
    using Table = CountedEntries<kvm_irq_routing_entry>;
    Table routing(interrupt_lines);
    std::uint32_t gsi = 0;
    for (auto& entry : routing.entries()) {
        entry.gsi = gsi;
        entry.type = KVM_IRQ_ROUTING_IRQCHIP;
        entry.u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
        entry.u.irqchip.pin = gsi++;
    }
    TRY(call_kvm(fd_.get(), Table::request(KVM_SET_GSI_ROUTING), "KVM_SET_GSI_ROUTING", routing.argument()));
    return {};
}

Result<void> Vm::set_memory_region(SlotId id, const MappedRegion& memory, DirtyLogging logging) {
    const kvm_userspace_memory_region region{
        .slot = id.value,
        .flags = logging == DirtyLogging::on ? std::uint32_t{KVM_MEM_LOG_DIRTY_PAGES} : 0U,
        .guest_phys_addr = memory.guest.start.value,
        .memory_size = memory.guest.length.value,
        .userspace_addr = std::bit_cast<std::uint64_t>(memory.host),
    };
    if (auto set = call_kvm(fd_.get(), KVM_SET_USER_MEMORY_REGION, "KVM_SET_USER_MEMORY_REGION", &region); !set)
        return fail("cannot map {} MiB of guest memory at {:#x}: {}", memory.guest.length.value >> 20,
                    memory.guest.start.value, set.error().message);
    const auto slot = std::ranges::find(slots_, id, &MemorySlot::id);
    if (slot == slots_.end())
        slots_.push_back({id, memory, logging});
    else
        *slot = {id, memory, logging};
    return {};
}

Result<void> Vm::map(std::span<const MappedRegion> regions) {
    std::uint32_t slot = 0;
    for (const MappedRegion& region : regions) {
        for (ByteCount offset; offset < region.guest.length; offset += largest_slot) {
            MappedRegion part = region;
            part.guest = {{region.guest.start.value + offset.value},
                          std::min(largest_slot, region.guest.length - offset)};
            part.host += offset.value;
            part.fd_offset += offset;
            TRY(set_memory_region(SlotId{slot++}, part));
        }
    }
    return {};
}

Result<void> Vm::set_dirty_logging(DirtyLogging logging) {
    for (const MemorySlot slot : slots_)
        if (slot.logging != logging)
            TRY(set_memory_region(slot.id, slot.memory, logging));
    return {};
}

Result<void> Vm::connect_interrupt(const EventFd& event, std::uint32_t gsi) {
    CHECK(gsi < interrupt_lines);
    kvm_irqfd irqfd{};
    irqfd.fd = static_cast<std::uint32_t>(event.fd());
    irqfd.gsi = gsi;
    TRY(call_kvm(fd_.get(), KVM_IRQFD, "KVM_IRQFD", &irqfd));
    return {};
}

Result<void> Vm::connect_io_event(const IoEvent& io, const EventFd& event) {
    kvm_ioeventfd ioeventfd{};
    ioeventfd.datamatch = io.value.value_or(0);
    ioeventfd.addr = io.address.value;
    ioeventfd.len = io.length;
    ioeventfd.fd = event.fd();
    ioeventfd.flags = io.value ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0U;
    TRY(call_kvm(fd_.get(), KVM_IOEVENTFD, "KVM_IOEVENTFD", &ioeventfd));
    return {};
}

Result<std::unique_ptr<Vcpu>> Vm::create_vcpu(unsigned index, unsigned threads_per_core) {
    CHECK(index < vcpus_);
    auto cpuid = guest_cpuid(cpuid_, {.index = index, .count = vcpus_, .threads_per_core = threads_per_core},
                             tsc_deadline_timer_);
    auto vcpu = TRY(Vcpu::create({.vm_fd = fd_.get(),
                                  .index = index,
                                  .run_area = run_area_,
                                  .cpuid = std::move(cpuid),
                                  .dirty_rings = rings_.get()}));
    if (rings_)
        TRY(rings_->add(vcpu->fd()));
    return vcpu;
}

/// KVM looks anew whether the guest's time can follow the host's TSC when a clock is set, and otherwise not before the
/// first vCPU has run (kvm_vm_ioctl_set_clock).
Result<> Vm::start_clock() {
    kvm_clock_data clock{};
    TRY(call_kvm(fd_.get(), KVM_SET_CLOCK, "KVM_SET_CLOCK", &clock));
    return {};
}

std::optional<HostTime> Vm::host_time() const {
    const auto clock = get_clock(fd_.get());
    constexpr std::uint32_t both = KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC;
    if (!clock || (clock->flags & both) != both)
        return std::nullopt;
    return HostTime{.tsc = clock->host_tsc, .realtime = clock->realtime};
}

Result<> Vm::apply(const CpuTemplate& wanted, const SavableState& savable, Vcpu& vcpu,
                   unsigned threads_per_core) const {
    auto cpuid = guest_cpuid(TRY(with_template(cpuid_, wanted)),
                             {.index = vcpu.index(), .count = vcpus_, .threads_per_core = threads_per_core},
                             tsc_deadline_timer_);
    TRY(check_template_holds(cpuid, wanted));
    // What no host like this one can show could not be restored from a snapshot either.
    TRY(check_cpu_features(cpuid, cpuid_));
    TRY(vcpu.set_cpuid(std::move(cpuid)));
    return set_template_msrs(vcpu.fd(), savable, wanted);
}

Result<VmState> Vm::save() const {
    VmState state;
    for (std::uint32_t id = 0; id < state.interrupt_controllers.size(); ++id) {
        state.interrupt_controllers[id].chip_id = id;
        TRY(call_kvm(fd_.get(), KVM_GET_IRQCHIP, "KVM_GET_IRQCHIP", &state.interrupt_controllers[id]));
    }
    const kvm_clock_data clock = TRY(get_clock(fd_.get()));
    state.clock = clock.clock;
    state.realtime = (clock.flags & KVM_CLOCK_REALTIME) != 0 ? std::uint64_t{clock.realtime} : time_of_day();
    return state;
}

Result<std::chrono::nanoseconds> Vm::restore(const VmState& state, ClockAfterRestore after) {
    const bool catches_up = after == ClockAfterRestore::catches_up;
    if (catches_up && state.realtime == 0)
        return fail("clock_realtime: the snapshot does not say at what time it was taken: leave it out");
    for (std::uint32_t id = 0; id < state.interrupt_controllers.size(); ++id) {
        kvm_irqchip chip = state.interrupt_controllers[id];
        chip.chip_id = id;
        TRY(call_kvm(fd_.get(), KVM_SET_IRQCHIP, "KVM_SET_IRQCHIP", &chip));
    }
    kvm_clock_data clock{};
    clock.clock = state.clock;
    if (catches_up) { // by what the host's time is later, and never back
        clock.flags = KVM_CLOCK_REALTIME;
        clock.realtime = state.realtime;
    }
    TRY(call_kvm(fd_.get(), KVM_SET_CLOCK, "KVM_SET_CLOCK", &clock));
    if (!catches_up)
        return std::chrono::nanoseconds(0);
    return std::chrono::nanoseconds(TRY(get_clock(fd_.get())).clock - state.clock);
}

} // namespace aerate
