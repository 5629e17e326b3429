#include "machine/restore.hpp"

#include "programs/commands.hpp"
#include "programs/console_flags.hpp"
#include "programs/file_flags.hpp"
#include "programs/given_flags.hpp"
#include "programs/progress.hpp"
#include "programs/run.hpp"
#include "programs/sandbox_flags.hpp"

#include <CLI/CLI.hpp>
#include <unistd.h>

#include <memory>

namespace aerate {
namespace {

struct Options {
    control::LoadSnapshot load;
    std::string name;
    FileFlags files;
    GivenFlags given;
    bool paused = false;
    RunOptions run;
};

Result<RunOptions> prepare(Options options) {
    ProgressLine line("checking");
    const std::string name = options.name.empty() ? fmt::format("vm-{}", ::getpid()) : options.name;
    auto opened = TRY(open_snapshot(options.load, name, [&](ByteCount done, ByteCount all) {
        line.show(done, all);
        return true;
    }));
    line.clear();
    options.run.config = opened.config;
    options.run.start = !options.paused;
    options.run.testbed = TestbedUse::never;
    options.run.restored = std::make_shared<OpenedSnapshot>(std::move(opened));
    return std::move(options.run);
}

} // namespace

void add_restore(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("restore", "Restore a VM that was saved to a file, or start a clone of it");
    auto options = std::make_shared<Options>();
    command.add_option("file", options->load.path, "a snapshot")->required();
    command.add_option("--name", options->name, "name of the VM (default: vm-PID)");
    add_file_flags(command, options->files);
    command.add_flag("--paused", options->paused, "do not run until resumed");
    command.add_flag("--track-dirty", options->load.track_dirty_pages,
                     "keep track of what the guest changes, for snapshot --diff");
    command
        .add_option_function<unsigned>(
            "--record-working-set",
            [options](unsigned seconds) { options->load.record_working_set = std::chrono::seconds(seconds); },
            "after this many seconds record which pages were touched, for later restores to read ahead")
        ->option_text("SECONDS")
        ->check(CLI::Range(1U, 3600U));
    command.add_flag("!--no-prefetch", options->load.prefetch, "do not read ahead what was recorded");
    command.add_flag("--force", options->load.force,
                     "restore also with disks that were written to since, which may destroy them");
    command.add_flag("--clock-realtime", options->load.clock_realtime,
                     "set the guest's clocks forward by the time since it was saved");
    auto* const verify = command.add_flag("--verify", options->load.verify, "check all of its memory first");
    command.add_option("--key", options->load.key_path, "the file with the 32 secret bytes that sealed the snapshot")
        ->type_name("FILE");
    command
        .add_option("--fault-handler", options->load.fault_handler,
                    "a unix socket, whose process supplies the memory page by page (userfaultfd)")
        ->type_name("SOCKET")
        ->excludes(verify)
        ->excludes("--key")
        ->excludes("--record-working-set");
    add_console_flags(command, options->run);
    add_sandbox_flags(command, options->run.sandbox);
    add_given_flags(command, options->given);
    command.callback([options, &chosen] {
        chosen = [options] {
            auto grants = grants_from(options->files);
            if (!grants)
                return wrong_usage(grants.error());
            options->load.grants = *std::move(grants);
            if (const auto usage = check_usage(options->given, options->name); !usage)
                return wrong_usage(usage.error());
            if (auto begun = confine::begin(
                    {.use = options->run.sandbox.use, .handed_over = handed_over(options->load.grants.networks)});
                !begun)
                return report(begun.error());
            if (const auto here = check_not_given(options->given, options->name); !here)
                return report(here.error());
            options->run.start = !options->paused;
            return run_as_told(options->run, options->name, "vm", [options](Started started) {
                options->run.started = std::move(started);
                auto run = prepare(std::move(*options));
                return run ? run_vm(*std::move(run)) : report(run.error());
            });
        };
    });
}

} // namespace aerate
