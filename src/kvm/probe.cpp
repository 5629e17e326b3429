#include "kvm/probe.hpp"

#include "base/host.hpp"
#include "kvm/vm.hpp"

#include <sys/mman.h>

#include <array>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>

namespace aerate {
namespace {

constexpr std::size_t scratch_size = 0x10000;
constexpr std::size_t page_map = 0x1000; // three levels, a page each
constexpr std::size_t code = 0x8000;
constexpr std::size_t tables = 0xb000;
constexpr std::uint16_t report_port = 0x80;

// What a stock kernel does first (PVH entry and startup_64: arch/x86/platform/pvh/head.S, kernel/head_64.S), then a
// loop. Instruction emulation does a million or two instructions a second, a processor a thousand times that, and a
// nested guest under a binary translator still a hundred times. Eight million tell them apart within the limit.
constexpr auto program = std::to_array<std::uint8_t>({
    0xfc,                                           // cld
    0x0f, 0x01, 0x15, 0x00, 0xb0, 0x00, 0x00,       // lgdt [tables]
    0xb8, 0x10, 0x00, 0x00, 0x00,                   // mov eax, 0x10
    0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0,             // mov ds, eax; mov es, eax; mov ss, eax
    0xbc, 0x00, 0xc0, 0x00, 0x00,                   // mov esp, 0xc000
    0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x20,             // mov eax, cr4; or eax, PAE
    0x0f, 0x22, 0xe0,                               // mov cr4, eax
    0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32,       // mov ecx, EFER; rdmsr
    0x0d, 0x01, 0x09, 0x00, 0x00, 0x0f, 0x30,       // or eax, SCE | LME | NX; wrmsr
    0xb8, 0x00, 0x10, 0x00, 0x00, 0x0f, 0x22, 0xd8, // mov eax, page_map; mov cr3, eax
    0xb8, 0x01, 0x00, 0x00, 0x80, 0x0f, 0x22, 0xc0, // mov eax, PG | PE; mov cr0, eax
    0xea, 0x46, 0x80, 0x00, 0x00, 0x08, 0x00,       // jmp 0x08:long_mode
    // long_mode:
    0xb9, 0x01, 0x01, 0x00, 0xc0,                   // mov ecx, GS_BASE
    0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x30,             // xor eax, eax; xor edx, edx; wrmsr
    0xb8, 0x01, 0x00, 0x00, 0x80, 0x0f, 0xa2,       // mov eax, 0x80000001; cpuid
    0x0f, 0x20, 0xe0,                               // mov rax, cr4
    0x48, 0x0d, 0x80, 0x00, 0x00, 0x00,             // or rax, PGE
    0x0f, 0x22, 0xe0,                               // mov cr4, rax
    0x0f, 0x01, 0x1c, 0x25, 0x10, 0xb0, 0x00, 0x00, // lidt [tables + 0x10]
    0x0f, 0x01, 0x3c, 0x25, 0x00, 0x90, 0x00, 0x00, // invlpg [0x9000]
    0x6a, 0x02, 0x9d,                               // push 2; popf
    0x31, 0xc0, 0x31, 0xd2, 0x31, 0xdb, 0x31, 0xc9, // xor eax, eax; edx; ebx; ecx
    0xbf, 0x00, 0x90, 0x00, 0x00,                   // mov edi, 0x9000
    0xf0, 0x48, 0x0f, 0xc7, 0x0f,                   // lock cmpxchg16b [rdi]: the kernel's allocator needs it, and KVM's
                                                    // instruction emulator does not have it
    0xb9, 0x00, 0x09, 0x3d, 0x00,                   // mov ecx, 4000000
    0xff, 0xc9, 0x75, 0xfc,                         // dec ecx; jnz to the dec
    0xb0, 0x01, 0xe6, report_port,                  // mov al, 1; out report_port, al
    0xf4,                                           // hlt
});

class ScratchMemory {
public:
    ScratchMemory()
        : bytes_(host::map(nullptr, scratch_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {}
    ~ScratchMemory() {
        if (valid())
            ::munmap(bytes_, scratch_size);
    }
    ScratchMemory(const ScratchMemory&) = delete;
    ScratchMemory& operator=(const ScratchMemory&) = delete;
    [[nodiscard]] bool valid() const { return bytes_ != MAP_FAILED; }
    [[nodiscard]] std::byte* data() const { return static_cast<std::byte*>(bytes_); }

private:
    void* bytes_;
};

void fill(std::byte* memory) {
    constexpr std::uint64_t present_writable = 3;
    constexpr std::uint64_t large = 1U << 7;
    const auto store = [memory](std::size_t offset, std::uint64_t value) {
        std::memcpy(memory + offset, &value, sizeof value);
    };
    store(page_map, (page_map + 0x1000) | present_writable);
    store(page_map + 0x1000, (page_map + 0x2000) | present_writable);
    store(page_map + 0x2000, large | present_writable);
    constexpr std::size_t gdt = tables + 0x20;
    constexpr std::uint64_t limit_of_gdt = 3 * 8 - 1;
    store(tables, limit_of_gdt | gdt << 16);
    store(tables + 0x10, 0);               // an empty IDT
    store(gdt + 0x08, 0x00af9a000000ffff); // code, 64 bits
    store(gdt + 0x10, 0x00cf92000000ffff); // data
    std::memcpy(memory + code, program.data(), program.size());
}

/// Asks the vCPU to stop unless it is destroyed before `limit`.
class Watchdog {
public:
    [[nodiscard]] Result<> start(Vcpu& vcpu, std::chrono::milliseconds limit) {
        thread_ = TRY(host::start_thread("watchdog", [this, &vcpu, limit](const std::stop_token& stop) {
            std::unique_lock lock(mutex_);
            if (!finished_.wait_for(lock, stop, limit, [] { return false; }) && !stop.stop_requested())
                vcpu.request_stop();
        }));
        return {};
    }

private:
    std::mutex mutex_;
    std::condition_variable_any finished_;
    std::jthread thread_;
};

constexpr const char* advice =
    "enable virtualisation (VMX or SVM) in the firmware, or nested virtualisation if this is a "
    "virtual machine; testbed/run starts one that has it";

Result<void> judge(const Exit& exit, std::chrono::milliseconds limit) {
    if (const auto* write = std::get_if<PortWrite>(&exit); write != nullptr && write->port == report_port)
        return {};
    if (std::holds_alternative<Interrupted>(exit))
        return fail(
            "/dev/kvm works here by emulating instructions, thousands of times slower than hardware (a test of 8 "
            "million did not end within {} ms): no stock kernel would boot: {}",
            limit.count(), advice);
    if (const auto* failed = std::get_if<Failed>(&exit))
        return fail("/dev/kvm exists but cannot run a guest on this machine: {}: {}", failed->reason, advice);
    return fail("/dev/kvm exists but a test program failed in it (exit {}): {}", exit.index(), advice);
}

} // namespace

Result<void> probe_hardware(const Kvm& kvm, std::chrono::milliseconds limit) {
    const ScratchMemory memory;
    if (!memory.valid())
        return fail_errno("cannot map memory for the KVM probe");
    fill(memory.data());
    auto vm = TRY(Vm::create(kvm, 1));
    TRY(vm.set_memory_region(SlotId{0}, MappedRegion{.guest = {GuestAddress{0}, ByteCount{scratch_size}},
                                                     .host = memory.data(),
                                                     .fd = -1,
                                                     .fd_offset = {}}));
    const auto vcpu = TRY(vm.create_vcpu(0));
    TRY(vcpu->enter(ProtectedModeEntry{.instruction = GuestAddress{code}, .start_info = {}}));
    Watchdog watchdog;
    TRY(watchdog.start(*vcpu, limit));
    return judge(TRY(vcpu->run()), limit);
}

} // namespace aerate
