#include "programs/commands.hpp"
#include "programs/running_vm.hpp"

#include <CLI/CLI.hpp>

#include <memory>

namespace aerate {
namespace {

struct Options {
    std::string name;
    std::string method;
    std::string path;
    std::string body;
};

Result<void> api(const Options& options) {
    const RunningVm vm = TRY(RunningVm::named(options.name));
    const std::string answer = TRY(vm.call(options.method, options.path, options.body));
    if (!answer.empty())
        fmt::print("{}{}", answer, answer.ends_with('\n') ? "" : "\n");
    return {};
}

} // namespace

void add_api(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("api", "Send one request to a VM's HTTP API and print the answer");
    auto options = std::make_shared<Options>();
    command.add_option("name", options->name, "name of the VM")->required();
    command.add_option("method", options->method, "GET, PUT or PATCH")
        ->required()
        ->transform(CLI::IsMember({"GET", "PUT", "PATCH"}, CLI::ignore_case));
    command.add_option("path", options->path, "as in /vm/config")->required()->check([](const std::string& path) {
        const bool plain = path.starts_with('/') && path.find_first_of(" \r\n") == std::string::npos;
        return plain ? std::string() : std::string("must start with / and have no spaces");
    });
    command.add_option("body", options->body, "JSON");
    command.callback([options, &chosen] { chosen = [options] { return exit_code(api(*options)); }; });
}

} // namespace aerate
