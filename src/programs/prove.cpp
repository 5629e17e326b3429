#include "base/log.hpp"
#include "programs/commands.hpp"
#include "programs/output.hpp"
#include "prove/catalogue.hpp"
#include "prove/diagram.hpp"
#include "prove/report.hpp"
#include "prove/story.hpp"
#include "prove/trace_file.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

namespace aerate {
namespace {

using namespace prove;

struct Options {
    std::string only;
    std::string explain;
    std::string svg;
    std::string traces;
    unsigned pages = 2;
    unsigned queue = 3;
    unsigned rounds = 2;
    bool nightly = false;
    bool list = false;
    bool json = false;
    bool page = false;
};

Finding examine(const Entry& entry, bool show_progress) {
    using Clock = std::chrono::steady_clock;
    const auto began = Clock::now();
    const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - began).count(); };
    ExplorerLimits limits;
    if (show_progress)
        limits.progress = [&](std::uint64_t states) {
            draw(stderr, fmt::format("\r{:<44} {:>10} states {:>6.1f} s", entry.name, states, seconds()));
        };
    const auto* hints = std::get_if<HintSetting>(&entry.setting);
    limits.check_progress = hints == nullptr || hints->pages <= 2;
    Finding finding{entry, prove::explore(entry, limits), seconds()};
    if (show_progress)
        draw(stderr, fmt::format("\r{:<80}\r", ""));
    return finding;
}

/// Examines all of them, several at a time, and calls `tell` for each in the order of the entries.
template <typename Tell>
std::vector<Finding> examine_all(const std::vector<Entry>& entries, bool show_progress, Tell tell) {
    std::vector<std::optional<Finding>> found(entries.size());
    std::atomic<std::size_t> next{0};
    std::mutex mutex;
    std::size_t told = 0;
    const auto work = [&](bool shows) {
        for (std::size_t at = next++; at < entries.size(); at = next++) {
            Finding finding = examine(entries[at], shows);
            const std::scoped_lock lock(mutex);
            found[at] = std::move(finding);
            for (; told < found.size() && found[told]; ++told)
                tell(*found[told]);
        }
    };
    {
        std::vector<std::jthread> helpers;
        try {
            for (unsigned helper = 1; helper < std::thread::hardware_concurrency(); ++helper)
                helpers.emplace_back(work, false);
        } catch (const std::system_error& refused) {
            log::warning("this will take longer, with fewer threads: {}", refused.what());
        }
        work(show_progress);
    }
    std::vector<Finding> findings;
    findings.reserve(found.size());
    for (auto& finding : found)
        findings.push_back(*std::move(finding));
    return findings;
}

Result<void> write_file(const std::filesystem::path& path, std::string_view content) {
    std::ofstream file(path);
    file << content;
    file.close();
    if (!file)
        return fail("cannot write {}", path.string());
    return {};
}

/// Turns hand-off/lease into hand-off_lease.trace.
std::string file_name_of(const Entry& entry) {
    std::string name = entry.name + ".trace";
    std::ranges::replace(name, '/', '_');
    return name;
}

Result<void> explain(const Options& options, const Entry& chosen) {
    const Finding finding = examine(chosen, isatty(STDERR_FILENO) != 0);
    const auto& [entry, found, seconds] = finding;
    if (found.verdict == Verdict::safe) {
        print("{}: safe. In none of {} states, reached in every possible order, is anything lost ({:.1f} s).\n",
              entry.name, found.states, seconds);
        return {};
    }
    const auto story = tell(entry, found.trace);
    if (!story)
        return fail("{}: the trace does not replay: a bug of the explorer", entry.name);
    print("{}", in_words(*story));
    if (!options.svg.empty())
        TRY(write_file(options.svg, as_svg(*story)));
    return {};
}

Result<void> prove_all(const Options& options, const std::vector<Entry>& entries) {
    const bool terminal = isatty(STDERR_FILENO) != 0;
    const bool table = !options.json && !options.page;
    if (table)
        print("{}", table_heading());
    const std::vector<Finding> findings = examine_all(entries, terminal, [&](const Finding& finding) {
        if (options.json)
            print("{}\n", json_line(finding));
        else if (table)
            print("{}", table_row(finding));
        (void)flush_output();
    });
    if (options.page)
        print("{}", proof_page(findings));
    std::size_t unexpected = 0;
    for (const Finding& finding : findings) {
        if (!is_expected(finding))
            ++unexpected;
        if (!options.traces.empty() && !finding.exploration.trace.empty()) {
            const TraceFile file{finding.entry.name, finding.exploration.trace};
            TRY(write_file(std::filesystem::path(options.traces) / file_name_of(finding.entry), to_text(file)));
        }
    }
    if (unexpected > 0)
        return fail("{} of {} verdicts are not the expected ones", unexpected, findings.size());
    if (table)
        print(
            "\n{} models, each with the expected verdict. \"aerate prove --explain MODEL\" tells why one is unsafe.\n",
            findings.size());
    return {};
}

int no_such_model(const std::string& name) {
    return wrong_usage({fmt::format("no model is named \"{}\"; \"aerate prove --list\" has them all", name)});
}

int run(const Options& options) {
    const Scale scale{static_cast<std::uint8_t>(options.pages), static_cast<std::uint8_t>(options.queue),
                      static_cast<std::uint8_t>(options.rounds)};
    std::vector<Entry> entries = options.nightly ? nightly() : catalogue(scale);
    if (options.list) {
        for (const Entry& entry : entries)
            print("{}\n", entry.name);
        return 0;
    }
    const bool all = options.explain.empty();
    const std::string& name = all ? options.only : options.explain;
    if (!name.empty())
        entries = entries_named(entries, name);
    if (entries.empty())
        return no_such_model(name);
    return exit_code(all ? prove_all(options, entries) : explain(options, entries.front()));
}

} // namespace

void add_prove(CLI::App& app, Command& chosen) {
    auto options = std::make_shared<Options>();
    CLI::App* command =
        app.add_subcommand("prove", "Explore every interleaving of the hint protocol over the code that ships");
    command->add_option("--only", options->only, "a model, or all models whose names begin with this");
    command->add_option("--explain", options->explain,
                        "Explain the shortest trace to an unsafe verdict, e.g. discard-at-once/linux");
    command->add_option("--svg", options->svg, "With --explain: write the sequence diagram there");
    command->add_option("--traces", options->traces, "Write the trace of every unsafe verdict into this directory")
        ->check(CLI::ExistingDirectory);
    command->add_option("--pages", options->pages, "Guest pages")
        ->check(CLI::Range(1U, unsigned{HintModel::max_pages}))
        ->capture_default_str();
    command->add_option("--queue", options->queue, "Buffers that the hint queue holds")
        ->check(CLI::Range(2U, unsigned{HintModel::max_queue}))
        ->capture_default_str();
    command->add_option("--rounds", options->rounds, "Hint rounds")
        ->check(CLI::Range(1U, unsigned{HintModel::max_rounds}))
        ->capture_default_str();
    command->add_flag("--nightly", options->nightly,
                      "What ships, larger, 4 pages and a queue of 6 for migration: minutes, and gigabytes of memory");
    command->add_flag("--list", options->list, "Print the names of the models");
    command->add_flag("--json", options->json, "Print a line of JSON for each model");
    command->add_flag("--page", options->page, "Print docs/proof.md");
    command->callback([options, &chosen] { chosen = [options] { return run(*options); }; });
}

} // namespace aerate
