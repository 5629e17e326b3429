#include "programs/commands.hpp"
#include "programs/output.hpp"
#include "programs/running_vm.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <memory>

namespace aerate {
namespace {

struct Options {
    std::string name;
    std::string method;
    std::string path;
    std::string body;
};

Result<void> send(const RunningVm& vm, const std::string& method, const Options& options) {
    const std::string answer = TRY(vm.call(method, options.path, options.body));
    if (!answer.empty())
        print("{}{}", answer, answer.ends_with('\n') ? "" : "\n");
    return {};
}

int api(const Options& options) {
    constexpr std::array methods{"GET", "PUT", "PATCH", "DELETE"};
    std::string method = options.method;
    std::ranges::transform(method, method.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    const auto vm = RunningVm::first_of(options.name, options.method);
    if (!vm)
        return wrong_usage(vm.error());
    if (std::ranges::find(methods, method) == methods.end())
        return wrong_usage({fmt::format("{} is not a method: give GET, PUT, PATCH or DELETE", options.method)});
    return exit_code(send(*vm, method, options));
}

} // namespace

void add_api(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("api", "Send one request to a VM's HTTP API and print the answer");
    auto options = std::make_shared<Options>();
    command.add_option("name", options->name, "name of the VM")->required();
    command.add_option("method", options->method, "GET, PUT, PATCH or DELETE")->required();
    command.add_option("path", options->path, "as in /vm/config")->required()->check([](const std::string& path) {
        const bool plain = path.starts_with('/') && path.find_first_of(" \r\n") == std::string::npos;
        return plain ? std::string() : std::string("must start with / and have no spaces");
    });
    command.add_option("body", options->body, "JSON");
    command.callback([options, &chosen] { chosen = [options] { return api(*options); }; });
}

} // namespace aerate
