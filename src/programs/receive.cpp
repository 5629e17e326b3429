#include "control/size.hpp"
#include "programs/commands.hpp"
#include "programs/console_flags.hpp"
#include "programs/file_flags.hpp"
#include "programs/flags.hpp"
#include "programs/protection_flags.hpp"
#include "programs/run.hpp"
#include "programs/sandbox_flags.hpp"

#include <CLI/CLI.hpp>
#include <unistd.h>

#include <chrono>
#include <memory>

namespace aerate {
namespace {

struct Options {
    std::string address;
    std::string name;
    FileFlags files;
    std::string lease;
    std::string max_memory;
    bool once = false;
    unsigned wait_seconds = 0;
    migration::Protection protection;
    RunOptions run;
};

/// Checks for the parser: a limit below the smallest guest would refuse every guest.
std::string check_largest_guest(const std::string& text) {
    const auto size = control::parse_size(text);
    if (!size)
        return size.error().message;
    return *size < control::mem_size_min ? fmt::format("{} is less than any guest has: give at least {}M", text,
                                                       control::mem_size_min.value >> 20)
                                         : "";
}

ByteCount host_memory() {
    return {static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * page_size.value};
}

int receive(Options options) {
    auto endpoint = migration::Endpoint::parse(options.address);
    if (!endpoint)
        return wrong_usage(endpoint.error());
    auto grants = grants_from(options.files);
    if (!grants)
        return wrong_usage(grants.error());
    if (auto begun = confine::begin({.use = options.run.sandbox.use, .handed_over = handed_over(grants->networks)});
        !begun)
        return report(begun.error());
    options.run.testbed = TestbedUse::never;
    options.run.receive = ReceiveOptions{
        .endpoint = *std::move(endpoint),
        .address = std::move(options.address),
        .name = std::move(options.name),
        .grants = *std::move(grants),
        .lease_path = std::move(options.lease),
        .protection = std::move(options.protection),
        .max_memory = options.max_memory.empty() ? host_memory() : *control::parse_size(options.max_memory),
        .once = options.once,
        .wait = std::chrono::seconds(options.wait_seconds)};
    const std::string name = options.run.receive->name;
    return run_as_told(options.run, name, "receive", [&run = options.run](Started started) {
        run.started = std::move(started);
        return run_vm(std::move(run));
    });
}

} // namespace

void add_receive(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("receive", "Wait for a VM that \"aerate migrate\" sends, and run it");
    command.footer(
        "Until it is here, \"aerate ps\" shows this as --name or receive-PID, and \"aerate stop\" ends it.\n"
        "Exit status: 0 the guest ran here and has ended or moved on, 1 an error, 2 wrong usage, 3 no guest came.");
    auto options = std::make_shared<Options>();
    command.add_option("address", options->address, "where to listen: tcp:ADDRESS:PORT or unix:PATH")->required();
    command.add_option("--name", options->name, "name of the VM here (default: the one that it has)");
    add_file_flags(command, options->files);
    add_lease(command, options->lease,
              "a file that both sides see, or a key in etcd: it decides who runs the VM if they lose each other");
    command
        .add_option("--max-memory", options->max_memory,
                    "the largest guest that is accepted (default: one as large as this host's memory)")
        ->option_text("SIZE")
        ->check(check_largest_guest);
    command.add_flag("--once", options->once, "end when a guest that was on its way does not arrive");
    command.add_option("--wait", options->wait_seconds, "end when no guest has come after this many seconds")
        ->option_text("SECONDS")
        ->check(CLI::Range(1U, 604'800U));
    add_protection_flags(command, options->protection);
    add_console_flags(command, options->run);
    add_sandbox_flags(command, options->run.sandbox);
    command.callback([options, &chosen] { chosen = [options] { return receive(std::move(*options)); }; });
}

} // namespace aerate
