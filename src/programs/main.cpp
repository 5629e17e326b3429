#include "control/version.hpp"
#include "programs/commands.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdio>
#include <exception>

namespace aerate {

int report(const Error& error) {
    fmt::print(stderr, "aerate: {}\n", error.message);
    return 1;
}

int exit_code(const Result<void>& result) {
    return result ? 0 : report(result.error());
}

namespace {

constexpr int wrong_usage = 2;

int main_with(int argc, char** argv) {
    CLI::App app("Runs virtual machines that cost their host only the memory they use.", "aerate");
    Command chosen;
    const std::string version = fmt::format("aerate {}", control::version);
    app.set_version_flag("--version", version);
    app.require_subcommand(1);
    app.get_formatter()->column_width(28);
    add_run(app, chosen);
    add_ps(app, chosen);
    add_stat(app, chosen);
    add_top(app, chosen);
    add_balloon(app, chosen);
    add_hint(app, chosen);
    add_lifecycle(app, chosen);
    add_api(app, chosen);
    app.add_subcommand("version", "Print the version")->callback([&] {
        chosen = [&] {
            fmt::print("{}\n", version);
            return 0;
        };
    });
    try {
        app.parse(argc, argv);
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
