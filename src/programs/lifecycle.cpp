#include "base/fd.hpp"
#include "base/host.hpp"
#include "programs/commands.hpp"
#include "programs/flags.hpp"
#include "programs/output.hpp"
#include "programs/running_vm.hpp"

#include <CLI/CLI.hpp>
#include <poll.h>
#include <unistd.h>

#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>
#include <optional>

namespace aerate {
namespace {

struct StopOptions {
    std::string name;
    bool kill = false;
    std::optional<unsigned> wait_seconds{};
};

Result<void> set_paused(const std::string& name, const control::SetPaused& state) {
    const RunningVm vm = TRY(RunningVm::named(name));
    TRY(vm.send(state));
    return {};
}

/// Waits for the process's end; false: it still runs then.
Result<bool> ends_within(const FileDescriptor& process, std::chrono::seconds time) {
    using Clock = std::chrono::steady_clock;
    const auto deadline = Clock::now() + time;
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
        pollfd ended{process.get(), POLLIN, 0};
        const int ready = ::poll(&ended, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
        if (ready >= 0)
            return ready > 0;
        if (errno != EINTR)
            return fail_errno("cannot wait for its end");
    }
}

/// A guest that does not listen to its power button says nothing, so we do.
constexpr std::chrono::seconds reaction_time{5};

Result<void> stop(const StopOptions& options) {
    const RunningVm vm = TRY(RunningVm::named(options.name));
    const std::chrono::seconds asked{options.wait_seconds.value_or(0)};
    // Taken before the request: afterwards the number may already be another process's.
    const int pid = TRY(vm.status()).pid;
    const FileDescriptor process = host::descriptor([&] { return ::syscall(SYS_pidfd_open, pid, 0); });
    if (!process.valid())
        return fail_errno("cannot watch process {} of {}", pid, options.name);
    using How = control::Stop::How;
    TRY(vm.send(control::Stop{options.kill ? How::kill : How::power_button}));
    if (options.wait_seconds == 0U ||
        TRY(ends_within(process, std::min(reaction_time, asked.count() > 0 ? asked : reaction_time))))
        return {};
    if (!options.kill && (!options.wait_seconds || asked > reaction_time))
        print_error(fmt::format("{} still runs {} s after its power button was pressed. It may need longer; a guest in "
                                "which nothing listens to the button (systemd-logind or acpid does) never ends: "
                                "\"aerate stop --kill {}\"",
                                options.name, reaction_time.count(), options.name));
    if (!options.wait_seconds || (asked > reaction_time && TRY(ends_within(process, asked - reaction_time))))
        return {};
    return fail("{} is still running after {} s; \"aerate stop --kill {}\" ends it at once", options.name,
                asked.count(), options.name);
}

void add_pause(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("pause", "Pause a VM's vCPUs and devices");
    auto name = std::make_shared<std::string>();
    add_vm_name(command, *name);
    command.callback([name, &chosen] { chosen = [=] { return exit_code(set_paused(*name, {.paused = true})); }; });
}

void add_resume(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("resume", "Resume a paused VM");
    auto name = std::make_shared<std::string>();
    auto force = std::make_shared<bool>(false);
    add_vm_name(command, *name);
    command.add_flag("--force", *force,
                     "also a VM that was given to a destination that did not answer: only if it certainly does not run "
                     "there, or there will be two of it");
    command.callback([name, force, &chosen] {
        chosen = [=] { return exit_code(set_paused(*name, {.paused = false, .force = *force})); };
    });
}

} // namespace

void add_lifecycle(CLI::App& app, Command& chosen) {
    add_pause(app, chosen);
    add_resume(app, chosen);

    CLI::App& command = *app.add_subcommand("stop", "Press a VM's power button, or end it at once");
    auto options = std::make_shared<StopOptions>();
    add_vm_name(command, options->name);
    command.add_flag("--kill", options->kill, "end it at once; the guest is not asked");
    command
        .add_option("--wait", options->wait_seconds,
                    "fail if the VM has not ended after this many seconds; 0: do not wait")
        ->option_text("SECONDS")
        ->check(CLI::Range(0U, 86400U));
    command.callback([options, &chosen] { chosen = [options] { return exit_code(stop(*options)); }; });
}

} // namespace aerate
