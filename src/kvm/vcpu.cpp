#include "kvm/vcpu.hpp"

#include "base/check.hpp"
#include "base/host.hpp"
#include "kvm/dirty_ring.hpp"
#include "kvm/ioctl.hpp"

#include <unistd.h>

#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <bit>
#include <csignal>
#include <cstring>

namespace aerate {
namespace {

/// Not a real-time one, which the host refuses with EAGAIN once its user has RLIMIT_SIGPENDING of them queued, in any
/// process; these it only merges (kernel/signal.c, __send_signal_locked()).
constexpr int stop_signal = SIGUSR1;

void install_stop_handler() {
    struct sigaction action{};
    action.sa_handler = [](int) {};
    CHECK(::sigaction(stop_signal, &action, nullptr) == 0);
}

kvm_segment flat_segment(std::uint16_t selector, std::uint8_t type) {
    kvm_segment segment{};
    segment.limit = 0xffffffff;
    segment.selector = selector;
    segment.type = type;
    segment.present = 1;
    segment.s = 1;
    segment.g = 1;
    return segment;
}

constexpr std::uint8_t type_execute_read = 0xb; // accessed
constexpr std::uint8_t type_read_write = 0x3;   // accessed
constexpr std::uint8_t type_busy_tss = 0xb;

kvm_segment code32(std::uint16_t selector) {
    auto segment = flat_segment(selector, type_execute_read);
    segment.db = 1;
    return segment;
}

kvm_segment code64(std::uint16_t selector) {
    auto segment = flat_segment(selector, type_execute_read);
    segment.l = 1;
    return segment;
}

/// Returns a busy TSS: VMX refuses to enter a guest whose task register is none.
kvm_segment task_segment() {
    kvm_segment segment{};
    segment.limit = 0x67;
    segment.type = type_busy_tss;
    segment.present = 1;
    return segment;
}

void set_data_segments(kvm_sregs& sregs, std::uint16_t selector) {
    auto data = flat_segment(selector, type_read_write);
    data.db = 1;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
}

constexpr std::uint64_t cr0_pe = 1;
constexpr std::uint64_t cr0_et = 1U << 4;
constexpr std::uint64_t cr0_pg = 1U << 31;
constexpr std::uint64_t cr4_pae = 1U << 5;
constexpr std::uint64_t efer_lme = 1U << 8;
constexpr std::uint64_t efer_lma = 1U << 10;
constexpr std::uint64_t rflags_reserved = 2;

} // namespace

Vcpu::Vcpu(FileDescriptor fd, const Config& config, kvm_run* run)
    : fd_(std::move(fd))
    , index_(config.index)
    , run_(run)
    , run_area_(config.run_area)
    , dirty_rings_(config.dirty_rings) {}

Vcpu::~Vcpu() {
    ::munmap(run_, run_area_.value);
}

Result<std::unique_ptr<Vcpu>> Vcpu::create(Config config) {
    install_stop_handler();
    FileDescriptor fd = TRY(make_kvm(config.vm_fd, KVM_CREATE_VCPU, "KVM_CREATE_VCPU", config.index));
    void* area = host::map(nullptr, config.run_area.value, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (area == MAP_FAILED)
        return fail_errno("cannot map the run area of vCPU {}", config.index);
    std::unique_ptr<Vcpu> vcpu(new Vcpu(std::move(fd), config, static_cast<kvm_run*>(area)));
    vcpu->host_khz_ = tsc_khz(vcpu->fd_.get()); // until it is given another one
    TRY(vcpu->set_cpuid(std::move(config.cpuid)));
    TRY(vcpu->set_boot_msrs());
    TRY(vcpu->set_fpu());
    TRY(vcpu->set_local_apic());
    return vcpu;
}

Result<void> Vcpu::set_cpuid(std::vector<kvm_cpuid_entry2> entries) {
    using Table = CountedEntries<kvm_cpuid_entry2>;
    Table table(static_cast<std::uint32_t>(entries.size()));
    std::ranges::copy(entries, table.entries().begin());
    TRY(call_kvm(fd_.get(), Table::request(KVM_SET_CPUID2), "KVM_SET_CPUID2", table.argument()));
    cpuid_ = std::move(entries);
    return {};
}

Result<VcpuState> Vcpu::save(const SavableState& savable) const {
    auto state = TRY(get_vcpu_state(fd_.get(), savable));
    state.cpuid = cpuid_;
    return state;
}

/// Restores CPUID first: it decides which registers there are.
Result<> Vcpu::restore(const VcpuState& state, std::chrono::nanoseconds forward) {
    TRY(set_cpuid(state.cpuid));
    return set_vcpu_state(fd_.get(), state, forward);
}

std::optional<TscOffset> Vcpu::tsc_offset() const {
    std::uint64_t ticks = 0;
    kvm_device_attr attribute{};
    attribute.group = KVM_VCPU_TSC_CTRL;
    attribute.attr = KVM_VCPU_TSC_OFFSET;
    attribute.addr = std::bit_cast<std::uint64_t>(&ticks);
    const auto khz = tsc_khz(fd_.get());
    if (!khz || khz != host_khz_ || !call_kvm(fd_.get(), KVM_GET_DEVICE_ATTR, "KVM_GET_DEVICE_ATTR", &attribute))
        return std::nullopt;
    return TscOffset{.ticks = ticks, .khz = *khz};
}

/// Sets what firmware leaves behind and kernels rely on. With MTRRs off, Linux would also do without the PAT.
Result<void> Vcpu::set_boot_msrs() {
    constexpr std::uint32_t ia32_misc_enable = 0x1a0;
    constexpr std::uint64_t fast_strings = 1;
    constexpr std::uint32_t mtrr_def_type = 0x2ff;
    constexpr std::uint64_t mtrr_enable = 1U << 11;
    constexpr std::uint64_t write_back = 6;
    constexpr std::array boot_msrs{
        kvm_msr_entry{.index = ia32_misc_enable, .reserved = 0, .data = fast_strings},
        kvm_msr_entry{.index = mtrr_def_type, .reserved = 0, .data = mtrr_enable | write_back},
    };
    using Table = CountedEntries<kvm_msr_entry>;
    Table msrs(boot_msrs.size());
    std::ranges::copy(boot_msrs, msrs.entries().begin());
    const int set = TRY(call_kvm(fd_.get(), Table::request(KVM_SET_MSRS), "KVM_SET_MSRS", msrs.argument()));
    if (set != int{boot_msrs.size()})
        return fail("KVM refuses to set MSR {:#x}", boot_msrs.at(static_cast<std::size_t>(set)).index);
    return {};
}

Result<void> Vcpu::set_fpu() {
    kvm_fpu fpu{};
    fpu.fcw = 0x37f;    // as FNINIT
    fpu.mxcsr = 0x1f80; // as reset
    TRY(call_kvm(fd_.get(), KVM_SET_FPU, "KVM_SET_FPU", &fpu));
    return {};
}

/// Masks LINT0: KVM's reset state has it deliver the PIC's interrupts (KVM_X86_QUIRK_LINT0_REENABLED), and Linux
/// keeps it so; but the PIC is not set up here, and its vectors would be exceptions. LINT1 is the NMI, as on any PC.
Result<void> Vcpu::set_local_apic() {
    constexpr std::size_t lvt_lint0 = 0x350;
    constexpr std::size_t lvt_lint1 = 0x360;
    constexpr std::uint32_t masked = 1U << 16;
    constexpr std::uint32_t delivery_nmi = 4U << 8;
    kvm_lapic_state apic{};
    TRY(call_kvm(fd_.get(), KVM_GET_LAPIC, "KVM_GET_LAPIC", &apic));
    const auto store = [&apic](std::size_t offset, std::uint32_t value) {
        std::memcpy(&apic.regs[offset], &value, sizeof value);
    };
    store(lvt_lint0, masked);
    store(lvt_lint1, delivery_nmi);
    TRY(call_kvm(fd_.get(), KVM_SET_LAPIC, "KVM_SET_LAPIC", &apic));
    return {};
}

Result<void> Vcpu::enter(const LongModeEntry& entry) {
    auto sregs = TRY(special_registers());
    sregs.cs = code64(0x10);
    set_data_segments(sregs, 0x18);
    sregs.tr = task_segment();
    sregs.gdt = {.base = entry.gdt.value, .limit = 4 * 8 - 1, .padding = {}};
    sregs.idt = {};
    sregs.cr0 = cr0_pe | cr0_et | cr0_pg;
    sregs.cr3 = entry.page_table.value;
    sregs.cr4 = cr4_pae;
    sregs.efer = efer_lme | efer_lma;
    TRY(set_special_registers(sregs));
    kvm_regs regs{};
    regs.rip = entry.instruction.value;
    regs.rsi = entry.boot_params.value;
    regs.rflags = rflags_reserved;
    return set_registers(regs);
}

Result<void> Vcpu::enter(const ProtectedModeEntry& entry) {
    auto sregs = TRY(special_registers());
    sregs.cs = code32(0x10);
    set_data_segments(sregs, 0x18);
    sregs.tr = task_segment();
    sregs.gdt = {};
    sregs.idt = {};
    sregs.cr0 = cr0_pe | cr0_et;
    sregs.cr4 = 0;
    sregs.efer = 0;
    TRY(set_special_registers(sregs));
    kvm_regs regs{};
    regs.rip = entry.instruction.value;
    regs.rbx = entry.start_info.value;
    regs.rflags = rflags_reserved;
    return set_registers(regs);
}

Result<Exit> Vcpu::run() {
    if (thread_.load(std::memory_order_relaxed) == 0)
        thread_.store(::gettid(), std::memory_order_release);
    if (::ioctl(fd_.get(), KVM_RUN, 0) == 0) {
        if (run_->exit_reason != KVM_EXIT_DIRTY_RING_FULL)
            return decode();
        CHECK(dirty_rings_ != nullptr);
        TRY(dirty_rings_->make_room());
        return Interrupted{};
    }
    // EAGAIN: an AP that waits for its SIPI was woken for something else.
    if (errno == EINTR || errno == EAGAIN) {
        std::atomic_ref(run_->immediate_exit).store(0, std::memory_order_relaxed);
        return Interrupted{};
    }
    // What the guest gave back, or never had, and the host cannot give: docs/host-refusals.md.
    if (errno == EFAULT || errno == ENOMEM || errno == EHWPOISON)
        return fail_errno("the host has no more memory for the guest (are its huge pages, its tmpfs or its cgroup's "
                          "memory used up?): KVM_RUN of vCPU {}",
                          index_);
    return fail_errno("KVM_RUN of vCPU {}", index_);
}

void Vcpu::request_stop() {
    std::atomic_ref(run_->immediate_exit).store(1, std::memory_order_release);
    if (const int thread = thread_.load(std::memory_order_acquire); thread != 0)
        ::syscall(SYS_tgkill, ::getpid(), thread, stop_signal);
}

void Vcpu::interrupt_next_run() {
    std::atomic_ref(run_->immediate_exit).store(1, std::memory_order_relaxed);
}

void Vcpu::notify_clock_paused() {
    (void)::ioctl(fd_.get(), KVM_KVMCLOCK_CTRL, 0);
}

Exit Vcpu::decode() const {
    switch (run_->exit_reason) {
    case KVM_EXIT_IO:
        return decode_port();
    case KVM_EXIT_MMIO:
        return decode_mmio();
    case KVM_EXIT_HLT:
        return Halted{};
    case KVM_EXIT_SHUTDOWN:
        return ShutDown{};
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
        return Interrupted{};
    case KVM_EXIT_SYSTEM_EVENT:
        return SystemEvent{run_->system_event.type};
    case KVM_EXIT_INTERNAL_ERROR: {
        const bool emulation = run_->internal.suberror == KVM_INTERNAL_ERROR_EMULATION;
        return Failed{fmt::format("KVM cannot continue vCPU {} ({}): {}", index_,
                                  emulation ? "it cannot emulate an instruction"
                                            : fmt::format("internal error {}", run_->internal.suberror),
                                  describe_state())};
    }
    case KVM_EXIT_FAIL_ENTRY:
        return Failed{fmt::format("the processor refuses the state of vCPU {} (hardware reason {:#x}): {}", index_,
                                  run_->fail_entry.hardware_entry_failure_reason, describe_state())};
    default:
        return Failed{fmt::format("vCPU {} stopped for a reason unknown to this monitor (KVM exit {}): {}", index_,
                                  run_->exit_reason, describe_state())};
    }
}

Exit Vcpu::decode_port() const {
    const auto& io = run_->io;
    auto* data = reinterpret_cast<std::byte*>(run_) + io.data_offset;
    const std::size_t size = std::size_t{io.size} * io.count;
    if (io.direction == KVM_EXIT_IO_IN)
        return PortRead{io.port, io.size, {data, size}};
    return PortWrite{io.port, io.size, {data, size}};
}

Exit Vcpu::decode_mmio() const {
    auto& mmio = run_->mmio;
    const std::span data(reinterpret_cast<std::byte*>(mmio.data), std::min<std::size_t>(mmio.len, sizeof mmio.data));
    if (mmio.is_write != 0)
        return MmioWrite{GuestAddress{mmio.phys_addr}, data};
    return MmioRead{GuestAddress{mmio.phys_addr}, data};
}

Result<kvm_regs> Vcpu::registers() const {
    kvm_regs regs{};
    TRY(call_kvm(fd_.get(), KVM_GET_REGS, "KVM_GET_REGS", &regs));
    return regs;
}

Result<void> Vcpu::set_registers(const kvm_regs& regs) {
    TRY(call_kvm(fd_.get(), KVM_SET_REGS, "KVM_SET_REGS", &regs));
    return {};
}

Result<kvm_sregs> Vcpu::special_registers() const {
    kvm_sregs sregs{};
    TRY(call_kvm(fd_.get(), KVM_GET_SREGS, "KVM_GET_SREGS", &sregs));
    return sregs;
}

Result<void> Vcpu::set_special_registers(const kvm_sregs& sregs) {
    TRY(call_kvm(fd_.get(), KVM_SET_SREGS, "KVM_SET_SREGS", &sregs));
    return {};
}

std::string Vcpu::describe_state() const {
    const auto regs = registers();
    const auto sregs = special_registers();
    if (!regs || !sregs)
        return "registers unknown";
    return fmt::format("rip {:#x} rsp {:#x} rflags {:#x} rax {:#x} rbx {:#x} rcx {:#x} rdx {:#x} rsi {:#x} rdi {:#x} "
                       "cs {:#x} cr0 {:#x} cr2 {:#x} cr3 {:#x} cr4 {:#x} efer {:#x}",
                       regs->rip, regs->rsp, regs->rflags, regs->rax, regs->rbx, regs->rcx, regs->rdx, regs->rsi,
                       regs->rdi, sregs->cs.selector, sregs->cr0, sregs->cr2, sregs->cr3, sregs->cr4, sregs->efer);
}

} // namespace aerate
