#include "control/size.hpp"
#include "control/version.hpp"
#include "programs/commands.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <string_view>

namespace aerate {

int report(const Error& error) {
    fmt::print(stderr, "aerate: {}\n", error.message);
    return 1;
}

int exit_code(const Result<void>& result) {
    return result ? 0 : report(result.error());
}

std::string check_size(const std::string& text) {
    const auto size = control::parse_size(text);
    return size ? "" : size.error().message;
}

namespace {

constexpr int wrong_usage = 2;

/// CLI11 prints "--no-start{false}" for a flag that switches something off.
class HelpFormatter final : public CLI::Formatter {
public:
    HelpFormatter() { column_width(28); }
    std::string make_option_name(const CLI::Option* option, bool positional) const override {
        constexpr std::string_view value = "{false}";
        std::string name = CLI::Formatter::make_option_name(option, positional);
        for (auto at = name.find(value); at != name.npos; at = name.find(value))
            name.erase(at, value.size());
        return name;
    }
};

int main_with(int argc, char** argv) {
    CLI::App app("Runs virtual machines that cost their host only the memory they use.", "aerate");
    Command chosen;
    const std::string version = fmt::format("aerate {}", control::version);
    app.set_version_flag("--version", version);
    app.require_subcommand(1);
    app.formatter(std::make_shared<HelpFormatter>());
    add_run(app, chosen);
    add_ps(app, chosen);
    add_stat(app, chosen);
    add_top(app, chosen);
    add_balloon(app, chosen);
    add_hint(app, chosen);
    add_sweep(app, chosen);
    add_squeeze(app, chosen);
    add_snapshot(app, chosen);
    add_restore(app, chosen);
    add_migrate(app, chosen);
    add_receive(app, chosen);
    add_lifecycle(app, chosen);
    add_api(app, chosen);
    add_prove(app, chosen);
    add_vhost_user(app, chosen);
    app.add_subcommand("version", "Print the version")->callback([&] {
        chosen = [&] {
            fmt::print("{}\n", version);
            return 0;
        };
    });
    try {
        app.parse(argc, argv);
    } catch (const CLI::RequiredError& error) {
        const auto unknown = app.remaining();
        if (!app.get_subcommands().empty() || unknown.empty())
            app.exit(error);
        else
            fmt::print(stderr, "aerate: no such command: {}; \"aerate --help\" lists them\n", unknown.front());
        return wrong_usage;
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : wrong_usage;
    }
    return chosen();
}

} // namespace
} // namespace aerate

int main(int argc, char** argv) {
    try {
        return aerate::main_with(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "aerate: %s\n", error.what());
        return 1;
    }
}
