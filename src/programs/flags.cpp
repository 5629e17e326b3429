#include "programs/flags.hpp"

#include "control/runtime_directory.hpp"
#include "control/size.hpp"
#include "programs/commands.hpp"

#include <CLI/CLI.hpp>

#include <filesystem>

namespace aerate {

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
            name,
            [&into](const std::string& text) {
                std::error_code error; // the working directory is gone: the path stays as it is
                const auto path = std::filesystem::absolute(text, error);
                into = error ? text : path.lexically_normal().string();
            },
            help)
        ->type_name("FILE");
}

} // namespace aerate
