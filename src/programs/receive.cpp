#include "programs/commands.hpp"
#include "programs/protection_flags.hpp"
#include "programs/run.hpp"

#include <CLI/CLI.hpp>

#include <memory>

namespace aerate {
namespace {

struct Options {
    std::string address;
    std::string name;
    std::vector<std::string> drives;
    std::string lease;
    migration::Protection protection;
    RunOptions run;
};

int receive(Options options) {
    auto endpoint = migration::Endpoint::parse(options.address);
    if (!endpoint)
        return report(endpoint.error());
    options.run.testbed = TestbedUse::never;
    options.run.receive = ReceiveOptions{.endpoint = *std::move(endpoint),
                                         .name = std::move(options.name),
                                         .drives = std::move(options.drives),
                                         .lease_path = std::move(options.lease),
                                         .protection = std::move(options.protection)};
    return run_vm(std::move(options.run));
}

} // namespace

void add_receive(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("receive", "Wait for a VM that \"aerate migrate\" sends, and run it");
    auto options = std::make_shared<Options>();
    command.add_option("address", options->address, "where to listen: tcp:ADDRESS:PORT or unix:PATH")->required();
    command.add_option("--name", options->name, "name of the VM here (default: the one that it has)");
    command.add_option("--drive", options->drives, "where a drive's image is here; may be repeated")
        ->type_name("ID=FILE")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    command
        .add_option("--lease", options->lease,
                    "a file that both sides see: it decides who runs the VM if they lose "
                    "each other")
        ->type_name("FILE");
    add_protection_flags(command, options->protection);
    command.add_option("--console", options->run.console, "stdio, none, or a file for the console's output")
        ->capture_default_str()
        ->type_name("WHERE");
    command.callback([options, &chosen] { chosen = [options] { return receive(std::move(*options)); }; });
}

} // namespace aerate
