#include "base/printable.hpp"
#include "control/top_view.hpp"
#include "programs/commands.hpp"
#include "programs/host_questions.hpp"
#include "programs/output.hpp"
#include "programs/running_vm.hpp"
#include "programs/terminal.hpp"

#include <CLI/CLI.hpp>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <thread>

namespace aerate {
namespace {

struct Options {
    double interval_seconds = 1;
    std::uint64_t iterations = 0; ///< 0: without end
};

using Clock = std::chrono::steady_clock;

/// Looks at all VMs: a monitor that hangs must not freeze the display of the others.
RunningVms look() {
    return query_running_vms(std::chrono::milliseconds(300));
}

/// Returns a line for the host's level, and one for each VM with which its policy does something, as many as fit into a
/// third of the screen: nothing where no "aerate host" answers.
std::string policy_lines(const control::TopView& view) {
    const auto status = query_host(std::chrono::milliseconds(300));
    if (!status)
        return "";
    const auto line = [&](const std::string& text) { return printable(text).substr(0, view.columns) + '\n'; };
    std::string text = line(fmt::format("host: {}, {} MiB available, {} MiB kept for itself",
                                        policy::level_words[static_cast<std::size_t>(status->host.level)].first,
                                        status->host.available.value >> 20, status->host.reserve.value >> 20));
    std::size_t left = view.rows == 0 ? status->vms.size() : view.rows / 3;
    for (const control::HostVm& vm : status->vms)
        if ((vm.reason.name != "kept" || vm.paused) && left > 0) {
            text += line(fmt::format("{}: {}", vm.name, vm.reason.words));
            --left;
        }
    return text;
}

std::string frame(control::TopView view) {
    const RunningVms vms = look();
    const std::string policy = policy_lines(view);
    if (view.rows != 0)
        view.rows -= std::min<std::size_t>(view.rows - 1, static_cast<std::size_t>(std::ranges::count(policy, '\n')));
    std::string text = control::render_top(vms.answered, view) + policy;
    for (const std::string& name : vms.silent)
        text += name + " does not answer\n";
    return text;
}

/// Draws over the last frame instead of clearing it first, so that nothing flickers.
std::string on_screen(std::string_view text, std::size_t rows) {
    std::string out = "\x1b[H";
    std::size_t row = 1;
    for (const char c : text) {
        if (c == '\n' && ++row > rows)
            break;
        out += c == '\n' ? "\x1b[K\r\n" : std::string(1, c);
    }
    return out + "\x1b[J";
}

Result<void> live(const Options& options, Clock::duration interval) {
    Terminal terminal = TRY(Terminal::take_over());
    for (std::uint64_t drawn = 0; options.iterations == 0 || drawn < options.iterations; ++drawn) {
        const auto next = Clock::now() + interval;
        const auto [columns, rows] = terminal.size();
        draw(stdout, on_screen(frame({columns, rows, true}), rows));
        if (terminal.wait(next) == Terminal::Event::quit)
            break;
    }
    return {};
}

Result<void> stream(const Options& options, Clock::duration interval) {
    for (std::uint64_t printed = 0; options.iterations == 0 || printed < options.iterations; ++printed) {
        if (printed > 0)
            std::this_thread::sleep_for(interval);
        print("{}{}", printed > 0 ? "\n" : "", frame({.columns = output_columns(120), .rows = 0, .colour = false}));
        if (!flush_output())
            break;
    }
    return {};
}

Result<void> top(const Options& options) {
    const auto interval =
        std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options.interval_seconds));
    const bool interactive = ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
    return interactive ? live(options, interval) : stream(options, interval);
}

} // namespace

void add_top(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("top", "Watch the running VMs' memory, in MiB; q quits");
    auto options = std::make_shared<Options>();
    command.add_option("--interval", options->interval_seconds, "seconds between two frames (0.1 to 3600)")
        ->type_name("SECONDS")
        ->capture_default_str()
        ->check([](const std::string& text) {
            // Not CLI::Range, which prints a fraction with six digits.
            const bool valid = CLI::Range(0.1, 3600.0)(text).empty();
            return valid ? std::string() : text + " is not a number from 0.1 to 3600";
        });
    command.add_option("--iterations", options->iterations, "frames to show; 0: without end")
        ->capture_default_str()
        ->check(check_number);
    command.callback([options, &chosen] { chosen = [options] { return exit_code(top(*options)); }; });
}

} // namespace aerate
