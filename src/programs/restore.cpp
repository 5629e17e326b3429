#include "machine/restore.hpp"

#include "programs/commands.hpp"
#include "programs/progress.hpp"
#include "programs/run.hpp"

#include <CLI/CLI.hpp>
#include <unistd.h>

#include <memory>

namespace aerate {
namespace {

struct Options {
    control::LoadSnapshot load;
    std::string name;
    std::vector<std::string> drives; ///< ID=PATH
    bool paused = false;
    RunOptions run;
};

Result<RunOptions> prepare(Options options) {
    ProgressLine line("checking");
    auto opened = TRY(open_snapshot(options.load, [&](ByteCount done, ByteCount all) { line.show(done, all); }));
    line.clear();
    TRY(replace_drives(opened.config, options.drives));
    opened.config.name = options.name.empty() ? fmt::format("vm-{}", ::getpid()) : options.name;
    options.run.config = opened.config;
    options.run.start = !options.paused;
    options.run.testbed = TestbedUse::never;
    options.run.restored = std::make_shared<OpenedSnapshot>(std::move(opened));
    return std::move(options.run);
}

} // namespace

void add_restore(CLI::App& app, Command& chosen) {
    CLI::App& command =
        *app.add_subcommand("restore", "Go on with a VM that was saved to a file, or with a clone of it");
    auto options = std::make_shared<Options>();
    command.add_option("file", options->load.path, "a snapshot")->required();
    command.add_option("--name", options->name, "name of the VM (default: vm-PID)");
    command.add_option("--drive", options->drives, "another image for a drive of the snapshot; may be repeated")
        ->type_name("ID=FILE")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    command.add_flag("--paused", options->paused, "wait to be resumed");
    command.add_flag("--track-dirty", options->load.track_dirty_pages,
                     "keep track of what the guest changes, for snapshot --diff");
    command
        .add_option_function<unsigned>(
            "--record-working-set",
            [options](unsigned seconds) { options->load.record_working_set = std::chrono::seconds(seconds); },
            "note after so many seconds what was touched, for later restores to read ahead")
        ->option_text("SECONDS")
        ->check(CLI::Range(1U, 3600U));
    command.add_flag("!--no-prefetch", options->load.prefetch, "do not read ahead what was noted");
    command.add_flag("--verify", options->load.verify, "check all of its memory first");
    command.add_option("--key", options->load.key_path, "it was sealed with the 32 secret bytes of this file")
        ->type_name("FILE");
    command.add_option("--console", options->run.console, "stdio, none, or a file for the console's output")
        ->capture_default_str()
        ->type_name("WHERE");
    command.callback([options, &chosen] {
        chosen = [options] {
            auto run = prepare(std::move(*options));
            return run ? run_vm(*std::move(run)) : report(run.error());
        };
    });
}

} // namespace aerate
