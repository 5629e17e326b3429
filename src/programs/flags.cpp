#include "programs/flags.hpp"

#include "control/runtime_directory.hpp"
#include "control/size.hpp"
#include "etcd/address.hpp"
#include "programs/commands.hpp"

#include <CLI/CLI.hpp>

#include <filesystem>

namespace aerate {
namespace {

std::string absolute(const std::string& text) {
    std::error_code error; // the working directory is gone: the path stays as it is
    const auto path = std::filesystem::absolute(text, error);
    return error ? text : path.lexically_normal().string();
}

} // namespace

CLI::Option* add_vm_name(CLI::App& app, std::string& into) {
    return app.add_option("name", into, "name of the VM")->required()->check([](const std::string& name) {
        return control::validate_vm_name(name)
                   ? ""
                   : name + " is not the name of a VM: 1 to 64 letters, digits, '_', '.' or '-'";
    });
}

CLI::Option* add_size(CLI::App& app, const std::string& name, ByteCount& into, const std::string& help) {
    return app
        .add_option_function<std::string>(
            name, [&into](const std::string& text) { into = *control::parse_size(text); }, help)
        ->option_text("SIZE")
        ->check(check_size);
}

CLI::Option* add_path(CLI::App& app, const std::string& name, std::string& into, const std::string& help) {
    return app
        .add_option_function<std::string>(
            name, [&into](const std::string& text) { into = absolute(text); }, help)
        ->type_name("FILE");
}

CLI::Option* add_lease(CLI::App& app, std::string& into, const std::string& help) {
    return app
        .add_option_function<std::string>(
            "--lease", [&into](const std::string& text) { into = etcd::Address::is_one(text) ? text : absolute(text); },
            help)
        ->type_name("FILE|ETCD")
        ->check([](const std::string& text) {
            if (!etcd::Address::is_one(text))
                return std::string();
            const auto address = etcd::Address::parse(text);
            return address ? "" : address.error().message;
        });
}

} // namespace aerate
