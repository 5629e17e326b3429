#include "control/runtime_directory.hpp"
#include "programs/commands.hpp"
#include "programs/flags.hpp"
#include "programs/helper_program.hpp"
#include "programs/running_vm.hpp"
#include "programs/ssh_words.hpp"

#include <CLI/CLI.hpp>
#include <unistd.h>

#include <memory>
#include <vector>

namespace aerate {
namespace {

struct Options {
    std::string name;
    std::string user = "root";
    std::string identity;
    std::vector<std::string> words;
};

/// Returns the key that `aerate image` makes, if it is there.
std::string own_key() {
    const std::string key = own_key_path();
    return ::access(key.c_str(), R_OK) == 0 ? key : "";
}

Error log_in(Options options) {
    auto vm = RunningVm::named(options.name);
    if (!vm)
        return std::move(vm).error();
    auto answer = vm->call("GET", "/vm/config");
    auto config = answer ? control::parse_vm_config(*answer) : std::unexpected(std::move(answer).error());
    if (!config)
        return std::move(config).error();
    const auto port = ssh_port(*config);
    if (!port)
        return {fmt::format("no port of this host leads to port 22 of {}: start it with --net user,forward=2222:22",
                            options.name)};
    Error failed = turn_into(
        ssh_words({.port = *port,
                   .name = options.name,
                   .user = options.user,
                   .identity = options.identity.empty() ? own_key() : options.identity,
                   .known_hosts = control::known_hosts_path(control::runtime_directory(), options.name).string(),
                   .command = std::move(options.words)}));
    if (failed.system_error == ENOENT)
        failed.message = "the program ssh is missing: apt-get install openssh-client";
    return failed;
}

} // namespace

void add_ssh(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("ssh", "Log into a guest, or run a command there");
    command.footer("What follows the name is a command for the guest. The VM was started with\n"
                   "--net user,forward=PORT:22. Exit status: that of the command, 255 if there is\n"
                   "no connection.");
    auto options = std::make_shared<Options>();
    command.add_option("--user", options->user, "who logs in")->capture_default_str()->type_name("USER");
    add_path(command, "--identity", options->identity, "private key (default: that of aerate image, and ssh's own)");
    add_vm_name(command, options->name);
    command.prefix_command();
    command.callback([options, &command, &chosen] {
        options->words = command.remaining();
        if (!options->words.empty() && options->words.front().starts_with("-"))
            throw CLI::ExtrasError("ssh", options->words);
        chosen = [options] { return report(log_in(std::move(*options))); };
    });
}

} // namespace aerate
