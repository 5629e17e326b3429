#include "programs/run.hpp"

#include "base/fd.hpp"
#include "base/log.hpp"
#include "control/runtime_directory.hpp"
#include "control/server.hpp"
#include "event/event_loop.hpp"
#include "machine/machine.hpp"
#include "programs/commands.hpp"
#include "programs/testbed.hpp"

#include <fmt/format.h>
#include <pthread.h>

#include <sys/signalfd.h>

#include <csignal>
#include <optional>

namespace aerate {
namespace {

/// Signals become events of the loop, so that every way to end goes through the same door: terminal restored, socket
/// removed. Blocked before any thread starts, so that none of them takes one.
[[nodiscard]] Result<FileDescriptor> signals_to_end() {
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

/// The default is 8 MiB a thread, where the kernel likes to put a huge page: 2 MiB resident for a stack of a few KiB.
void use_small_stacks() {
    constexpr std::size_t enough = 256U << 10;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, enough);
    pthread_setattr_default_np(&attributes);
    pthread_attr_destroy(&attributes);
}

[[nodiscard]] ConsoleOptions console_from(const std::string& where) {
    if (where == "stdio")
        return {.kind = ConsoleOptions::Kind::stdio, .path = {}};
    if (where == "none")
        return {.kind = ConsoleOptions::Kind::none, .path = {}};
    return {.kind = ConsoleOptions::Kind::file, .path = where};
}

/// One life of the guest, from its first instruction to its end or reset. `config` comes back as the API left it.
[[nodiscard]] Result<Outcome> live(RunOptions& options, const FileDescriptor& signals) {
    EventLoop loop;
    Outcome outcome = Outcome::killed;
    Machine machine(loop, options.config, {.console = console_from(options.console), .ended = [&](Outcome how) {
                                               outcome = how;
                                               loop.stop();
                                           }});
    const Subscription ending = loop.watch(signals.get(), [&] {
        signalfd_siginfo info{};
        if (::read(signals.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info))
            machine.kill();
    });
    auto server =
        TRY(control::Server::create(loop, control::socket_path(control::runtime_directory(), options.config.name),
                                    [&](const control::Request& request, control::Server::Answer answer) {
                                        machine.handle(request, std::move(answer));
                                    }));
    if (options.start)
        TRY(machine.start());
    loop.run();
    options.config = machine.config();
    return outcome;
}

} // namespace

int run_vm(RunOptions options) {
    if (const auto reason = reason_for_testbed(options.testbed)) {
        log::info("running in the testbed: {}", *reason);
        return report(run_in_testbed(options));
    }
    use_small_stacks();
    auto signals = signals_to_end();
    if (!signals)
        return report(signals.error());
    for (;;) {
        auto outcome = live(options, *signals);
        if (!outcome)
            return report(outcome.error());
        if (*outcome != Outcome::reset)
            return 0;
        // A reset makes everything anew: what the guest had given back or taken is forgotten with it.
        options.start = true;
    }
}

} // namespace aerate
