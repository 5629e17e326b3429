#include "programs/process.hpp"

#include <pthread.h>

#include <sys/signalfd.h>

#include <csignal>

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

} // namespace aerate
