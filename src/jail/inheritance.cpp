#include "jail/inheritance.hpp"

#include "confine/filter.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <linux/audit.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <vector>

namespace aerate::jail {

Result<> check_standard_streams() {
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        struct stat status{};
        const int flags = ::fcntl(fd, F_GETFL);
        if (flags < 0 || ::fstat(fd, &status) != 0)
            continue; // closed
        if (S_ISDIR(status.st_mode) || (flags & O_PATH) != 0)
            return fail("file descriptor {} is a directory or a path, which leads out of the jail: redirect it "
                        "elsewhere",
                        fd);
    }
    return {};
}

Result<> leave_keyring() {
    if (::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) < 0 && errno != ENOSYS)
        return fail_errno("cannot have a keyring of its own");
    return {};
}

Result<> leave_terminal_alone() {
    constexpr unsigned x32_calls = 0x40000000; // linux/arch/x86/include/uapi/asm/unistd.h, __X32_SYSCALL_BIT
    constexpr unsigned linux_console = 0x541c; // TIOCLINUX, among others "paste"
    const auto load = [](std::size_t offset) {
        return sock_filter{BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<unsigned>(offset)};
    };
    const auto jump = [](unsigned short how, unsigned value, unsigned char yes, unsigned char no) {
        return sock_filter{static_cast<unsigned short>(BPF_JMP | BPF_K | how), yes, no, value};
    };
    const auto answer = [](unsigned what) { return sock_filter{BPF_RET | BPF_K, 0, 0, what}; };
    return confine::install({
        load(offsetof(seccomp_data, arch)),
        jump(BPF_JEQ, AUDIT_ARCH_X86_64, 0, 8),
        load(offsetof(seccomp_data, nr)),
        jump(BPF_JGE, x32_calls, 6, 0),
        jump(BPF_JEQ, SYS_ioctl, 0, 4),
        load(offsetof(seccomp_data, args) + sizeof(std::uint64_t)), // of the request the kernel looks at 32 bits
        jump(BPF_JEQ, TIOCSTI, 1, 0),
        jump(BPF_JEQ, linux_console, 0, 1),
        answer(SECCOMP_RET_ERRNO | EPERM),
        answer(SECCOMP_RET_ALLOW),
        answer(SECCOMP_RET_ERRNO | ENOSYS),
    });
}

} // namespace aerate::jail
