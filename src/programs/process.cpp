#include "programs/process.hpp"

#include "base/host.hpp"
#include "base/log.hpp"
#include "base/units.hpp"

#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <span>

namespace aerate {

bool have_standard_descriptors() {
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
            continue;
        // The lowest free number is this one. Not close-on-exec: what we start needs it as well.
        // NOLINTNEXTLINE(android-cloexec-open)
        FileDescriptor opened =
            host::descriptor([&] { return ::open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY); });
        if (opened.release() != fd)
            return false;
    }
    return true;
}

bool is_ignored(int signal) {
    struct sigaction action{};
    return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

Result<FileDescriptor> signals_to_end() {
    std::signal(SIGPIPE, SIG_IGN);
    // A write beyond RLIMIT_FSIZE is an error of that disk or console, EFBIG, and no end of the guest.
    std::signal(SIGXFSZ, SIG_IGN);
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT})
        if (!is_ignored(number)) // a blocked signal would be queued all the same (signal(7))
            sigaddset(&set, number);
    if (const int refused = pthread_sigmask(SIG_BLOCK, &set, nullptr); refused != 0)
        return fail("cannot block signals: {}", describe_errno(refused));
    FileDescriptor fd = host::descriptor([&] { return ::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC); });
    if (!fd.valid())
        return fail_errno("cannot create a signalfd");
    return fd;
}

bool take_end_signal(const FileDescriptor& signals) {
    signalfd_siginfo info{};
    if (::read(signals.get(), &info, sizeof info) != static_cast<ssize_t>(sizeof info))
        return false;
    const char* const name = ::sigabbrev_np(static_cast<int>(info.ssi_signo));
    log::info("ended by SIG{}{}", name != nullptr ? name : "?",
              info.ssi_pid != 0 ? fmt::format(" from process {} of user {}", info.ssi_pid, info.ssi_uid) : "");
    return true;
}

void use_small_stacks() {
    constexpr std::size_t enough = 256U << 10;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, enough);
    pthread_setattr_default_np(&attributes);
    pthread_attr_destroy(&attributes);
}

void forget_start_up_code() {
    const auto forget = [](dl_phdr_info* object, std::size_t, void*) {
        for (const ElfW(Phdr) & segment : std::span(object->dlpi_phdr, object->dlpi_phnum)) {
            // What may have been written, relocated constants among it, is nowhere else.
            if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0)
                continue;
            const std::uint64_t begin = (object->dlpi_addr + segment.p_vaddr) & ~(page_size.value - 1);
            const std::uint64_t end = object->dlpi_addr + segment.p_vaddr + segment.p_memsz;
            // NOLINTNEXTLINE(performance-no-int-to-ptr): the loader's own word for it
            ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
        }
        return 0;
    };
    ::dl_iterate_phdr(forget, nullptr);
}

} // namespace aerate
