#include "base/fd.hpp"
#include "programs/commands.hpp"
#include "programs/running_vm.hpp"

#include <CLI/CLI.hpp>
#include <poll.h>
#include <unistd.h>

#include <sys/syscall.h>

#include <cerrno>
#include <memory>

namespace aerate {
namespace {

struct StopOptions {
    std::string name;
    bool kill = false;
    unsigned wait_seconds = 0;
};

Result<void> set_state(const std::string& name, std::string_view state) {
    const RunningVm vm = TRY(RunningVm::named(name));
    TRY(vm.call("PATCH", "/vm", state));
    return {};
}

/// Sleeps until the process has ended.
Result<void> wait_for_end(const FileDescriptor& process, const StopOptions& options) {
    using Clock = std::chrono::steady_clock;
    const auto deadline = Clock::now() + std::chrono::seconds(options.wait_seconds);
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
        pollfd ended{process.get(), POLLIN, 0};
        const int ready = ::poll(&ended, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
        if (ready > 0)
            return {};
        if (ready == 0)
            return fail("{} is still running after {} s; \"aerate stop --kill {}\" ends it at once", options.name,
                        options.wait_seconds, options.name);
        if (errno != EINTR)
            return fail_errno("cannot wait for {}", options.name);
    }
}

Result<void> stop(const StopOptions& options) {
    const RunningVm vm = TRY(RunningVm::named(options.name));
    FileDescriptor process;
    if (options.wait_seconds > 0) {
        // Taken before the request: afterwards the number may already be another process's.
        const int pid = TRY(vm.status()).pid;
        process = FileDescriptor(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
        if (!process.valid())
            return fail_errno("cannot watch process {} of {}", pid, options.name);
    }
    TRY(vm.call("PUT", "/aerate/stop", options.kill ? R"({"how": "kill"})" : R"({"how": "power-button"})"));
    if (process.valid())
        return wait_for_end(process, options);
    return {};
}

void add_pause(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("pause", "Hold a VM's vCPUs and devices");
    auto name = std::make_shared<std::string>();
    command.add_option("name", *name, "name of the VM")->required();
    command.callback(
        [name, &chosen] { chosen = [=] { return exit_code(set_state(*name, R"({"state": "Paused"})")); }; });
}

void add_resume(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("resume", "Let a paused VM go on");
    auto name = std::make_shared<std::string>();
    auto force = std::make_shared<bool>(false);
    command.add_option("name", *name, "name of the VM")->required();
    command.add_flag("--force", *force,
                     "also one that was given to the destination of a migration, which did not answer: only when it is "
                     "certain that it does not run there, or there will be two of it");
    command.callback([name, force, &chosen] {
        chosen = [=] {
            return exit_code(
                set_state(*name, *force ? R"({"state": "Resumed", "force": true})" : R"({"state": "Resumed"})"));
        };
    });
}

} // namespace

void add_lifecycle(CLI::App& app, Command& chosen) {
    add_pause(app, chosen);
    add_resume(app, chosen);

    CLI::App& command = *app.add_subcommand("stop", "Press a VM's power button, or end it at once");
    auto options = std::make_shared<StopOptions>();
    command.add_option("name", options->name, "name of the VM")->required();
    command.add_flag("--kill", options->kill, "end it at once; the guest is not asked");
    command.add_option("--wait", options->wait_seconds, "return when the VM has ended; fail after so many seconds")
        ->option_text("SECONDS")
        ->check(CLI::Range(0U, 86400U));
    command.callback([options, &chosen] { chosen = [options] { return exit_code(stop(*options)); }; });
}

} // namespace aerate
