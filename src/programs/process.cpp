#include "programs/process.hpp"

#include "base/units.hpp"

#include <link.h>
#include <pthread.h>

#include <sys/mman.h>
#include <sys/signalfd.h>

#include <csignal>
#include <cstdint>
#include <span>

namespace aerate {

Result<FileDescriptor> signals_to_end() {
    std::signal(SIGPIPE, SIG_IGN);
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT})
        sigaddset(&set, number);
    if (pthread_sigmask(SIG_BLOCK, &set, nullptr) != 0)
        return fail_errno("cannot block signals");
    FileDescriptor fd(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
    if (!fd.valid())
        return fail_errno("cannot create a signalfd");
    return fd;
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
