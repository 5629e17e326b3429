// Says whether /dev/kvm here can run a stock kernel, by running guest code. One line on stdout; exit status 0 or 1.
//
// A /dev/kvm without virtualisation hardware behind it (KVM on PVM, for one) opens, answers every ioctl and even runs
// code: by emulating each instruction, a thousand times too slow, until it meets one its emulator lacks. A stock kernel
// is full of both. So the guest here, in long mode as a kernel is, does what a kernel's start does: CPUID, control and
// model-specific registers, `lock cmpxchg16b` (which such emulation is known to lack), SSE, and a loop that is timed.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

enum {
    MEMORY = 2 << 20,
    PML4 = 0x1000,
    PDPT = 0x2000,
    DIRECTORY = 0x3000,
    CODE = 0x4000,
    STACK = 0x8000, // the guest's data follow it, at 0x9000
    PORT = 0xf4,
    TURNS = 5000000, // of a loop of two instructions
    LIMIT_SECONDS = 2,
};

// What the guest reports before each step, so that a failure has a name.
static const char* const steps[] = {
    "the first instruction", "cpuid", "rdmsr/wrmsr", "lock cmpxchg16b", "sse", "the timed loop", "done",
};
enum { LAST = sizeof steps / sizeof steps[0] - 1 };
static volatile sig_atomic_t step;

__asm__(".section .rodata\n"
        "guest_begin:\n"
        "  movb $1, %al\n  outb %al, $0xf4\n"
        "  xorl %eax, %eax\n  cpuid\n"
        "  movb $2, %al\n  outb %al, $0xf4\n"
        "  movl $0xc0000080, %ecx\n  rdmsr\n  wrmsr\n" // EFER
        "  movb $3, %al\n  outb %al, $0xf4\n"
        "  lock cmpxchg16b 0x9040\n"
        "  movb $4, %al\n  outb %al, $0xf4\n"
        "  movaps %xmm0, 0x9000\n  movups 0x9000, %xmm1\n  paddq %xmm0, %xmm1\n"
        "  movb $5, %al\n  outb %al, $0xf4\n"
        "  movl $5000000, %ecx\n"
        "1: decl %ecx\n  jnz 1b\n"
        "  movb $6, %al\n  outb %al, $0xf4\n"
        "2: hlt\n  jmp 2b\n"
        "guest_end:\n"
        ".text\n");
extern const char guest_begin[], guest_end[];

static void __attribute__((noreturn, format(printf, 1, 2))) unusable(const char* format, ...) {
    char reason[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    printf("unusable: %s\n", reason);
    fflush(stdout);
    _exit(1); // leaves a running vCPU to the kernel
}

static void too_long(int signal) {
    (void)signal;
    unusable("no end of %s within %d s: code is emulated or stuck", steps[step], LIMIT_SECONDS);
}

static int call(int fd, unsigned long request, const char* name, void* argument) {
    int result = ioctl(fd, request, argument);
    if (result < 0)
        unusable("%s: %s", name, strerror(errno));
    return result;
}
#define CALL(fd, request, argument) call(fd, request, #request, (void*)(argument))

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

// Long mode with the first 2 MiB mapped one to one, as a 64-bit kernel finds it at its entry.
static void set_registers(int vcpu, char* memory) {
    struct kvm_sregs sregs;
    *(unsigned long*)(memory + PML4) = PDPT | 3;
    *(unsigned long*)(memory + PDPT) = DIRECTORY | 3;
    *(unsigned long*)(memory + DIRECTORY) = 0x83; // a page of 2 MiB
    CALL(vcpu, KVM_GET_SREGS, &sregs);
    struct kvm_segment code = {.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
    struct kvm_segment data = {.limit = 0xffffffff, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.cr3 = PML4;
    sregs.cr4 = 0x620; // PAE, OSFXSR, OSXMMEXCPT
    sregs.cr0 = 0x80000033;
    sregs.efer = 0x500;
    CALL(vcpu, KVM_SET_SREGS, &sregs);
    struct kvm_regs regs = {.rip = CODE, .rsp = STACK, .rflags = 2};
    CALL(vcpu, KVM_SET_REGS, &regs);
}

static void set_cpuid(int kvm, int vcpu) {
    enum { ROOM = 256 };
    struct kvm_cpuid2* cpuid = calloc(1, sizeof *cpuid + ROOM * sizeof cpuid->entries[0]);
    cpuid->nent = ROOM;
    CALL(kvm, KVM_GET_SUPPORTED_CPUID, cpuid);
    CALL(vcpu, KVM_SET_CPUID2, cpuid);
    free(cpuid);
}

int main(void) {
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0)
        unusable("/dev/kvm: %s", strerror(errno));
    int version = CALL(kvm, KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION)
        unusable("KVM API version %d", version);

    struct sigaction action = {.sa_handler = too_long};
    sigaction(SIGALRM, &action, NULL);
    alarm(LIMIT_SECONDS);

    int vm = CALL(kvm, KVM_CREATE_VM, 0);
    char* memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        unusable("mmap: %s", strerror(errno));
    memcpy(memory + CODE, guest_begin, (size_t)(guest_end - guest_begin));
    struct kvm_userspace_memory_region region = {.memory_size = MEMORY, .userspace_addr = (unsigned long)memory};
    CALL(vm, KVM_SET_USER_MEMORY_REGION, &region);
    int vcpu = CALL(vm, KVM_CREATE_VCPU, 0);
    int size = CALL(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    struct kvm_run* run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (run == MAP_FAILED)
        unusable("mmap of the vCPU: %s", strerror(errno));
    set_cpuid(kvm, vcpu);
    set_registers(vcpu, memory);

    double begun = 0;
    while (step < LAST) {
        CALL(vcpu, KVM_RUN, 0);
        if (run->exit_reason == KVM_EXIT_IO && run->io.port == PORT) {
            step = *((unsigned char*)run + run->io.data_offset);
            if (step == LAST - 1)
                begun = now();
        } else if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR) {
            unusable("KVM cannot execute %s (internal error %u%s)", steps[step], run->internal.suberror,
                     run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION ? ": its emulator lacks it" : "");
        } else {
            unusable("exit reason %u at %s", run->exit_reason, steps[step]);
        }
    }
    double seconds = now() - begun;
    printf("usable: 64-bit code runs, %.0f million instructions a second\n", 2 * TURNS / seconds / 1e6);
    return 0;
}
