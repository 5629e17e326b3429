#include "base/host.hpp"
#include "control/timeline_view.hpp"
#include "migration/link/endpoint.hpp"
#include "migration/streams.hpp"
#include "migration/wire/compression.hpp"
#include "programs/commands.hpp"
#include "programs/flags.hpp"
#include "programs/output.hpp"
#include "programs/process.hpp"
#include "programs/progress.hpp"
#include "programs/protection_flags.hpp"
#include "programs/report.hpp"
#include "programs/running_vm.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <future>
#include <memory>
#include <thread>

namespace aerate {
namespace {

struct Options {
    std::string name;
    control::Migrate migrate;
    migration::Protection protection;
    unsigned downtime_ms = 300;
    bool json = false;
    bool trace = false;
};

static_assert(control::migration_streams_max == migration::max_streams);

constexpr std::chrono::hours patience{24};
constexpr std::chrono::milliseconds refresh{250};

/// Ctrl-C cancels the migration; what has become of it is told by its answer.
volatile std::sig_atomic_t interrupted = 0;

/// Returns the request, with the paths of this command's working directory.
control::Migrate request_of(const Options& options) {
    const auto absolute = [](const std::string& path) {
        return path.empty() ? path : std::filesystem::absolute(path).lexically_normal().string();
    };
    control::Migrate request = options.migrate;
    request.downtime_limit = std::chrono::milliseconds(options.downtime_ms);
    request.psk_path = absolute(options.protection.psk_path);
    request.tls_certificate_path = absolute(options.protection.certificate_path);
    request.tls_key_path = absolute(options.protection.key_path);
    request.tls_ca_path = absolute(options.protection.ca_path);
    request.tls_name = options.protection.peer_name;
    request.plain = options.protection.plain;
    return request;
}

/// Says what compression has made of the content so far, and what is in use.
std::string saved(const control::MigrationStatus& status) {
    return fmt::format("{} MiB of content compressed to {} MiB ({})", mib(status.content), mib(status.stored),
                       status.compression);
}

std::string describe(const control::MigrationStatus& status, bool compressed) {
    std::string text = fmt::format("{}round {}: sent {} MiB at {} MiB/s, {} left",
                                   status.phase == "copying" ? "" : status.phase + ", ", status.round, mib(status.sent),
                                   mib(status.throughput), mib(status.pending));
    // The first round sends everything, and so says neither.
    if (status.expected_downtime.count() > 0 && status.round > 1)
        text += fmt::format(", would stop for {} ms", status.expected_downtime.count() / 1000);
    if (status.round > 1)
        text += fmt::format(", guest writes {} MiB/s", mib(status.dirty_rate));
    text += fmt::format(", {} MiB left out as free", mib(status.hinted));
    if (compressed)
        text += fmt::format(", {}", saved(status));
    if (status.throttle > 0)
        text += fmt::format(", throttled {} %", status.throttle);
    return text;
}

/// Beside 0, moved, and the 1 and 2 of every command.
constexpr int stayed = 3;
constexpr int unknown = 4;

/// Returns the exit status.
Result<int> migrate(const Options& options) {
    const RunningVm vm = TRY(RunningVm::named(options.name, patience));
    const RunningVm watched = TRY(RunningVm::named(options.name));
    TRY(watched.status()); // what cannot be reached is not said to stay here
    for (const int signal : {SIGINT, SIGTERM})
        if (!is_ignored(signal))
            std::signal(signal, [](int) { interrupted = 1; });
    std::promise<Result<control::MigrationStatus>> answered;
    auto outcome = answered.get_future();
    const auto asking = TRY(host::start_thread(
        "migrate", [&](const std::stop_token&) { answered.set_value(vm.send(request_of(options))); }));
    const bool compressed = options.migrate.compression != "none";
    if (options.protection.plain)
        print_error(fmt::format("warning: --plain: whoever can reach {}, every user of that machine included, can take "
                                "the guest's memory or change it in transit",
                                options.migrate.destination));
    ProgressLine line(options.name);
    bool cancelled = false;
    while (outcome.wait_for(refresh) != std::future_status::ready) {
        if (interrupted != 0 && !std::exchange(cancelled, true))
            (void)watched.send(control::CancelMigration{});
        if (const auto status = watched.send(control::GetMigration{}))
            line.show(describe(*status, compressed));
    }
    line.clear();
    const auto answer = outcome.get();
    if (!answer) {
        (void)report(answer.error());
        if (watched.status())
            return stayed; // it was refused, and runs on
        print_error(fmt::format("the monitor of {} did not report the outcome", options.name));
        return unknown;
    }
    const control::MigrationStatus& status = *answer;
    if (options.json)
        print_json(status);
    else if (options.trace)
        print("{}", control::render_timeline(status.timeline, output_columns(80)));
    if (status.phase == "unknown") {
        print_error(fmt::format("the VM was given to {}, which did not answer: {}. It is stopped here, and may run "
                                "there: see \"aerate resume --help\"",
                                options.migrate.destination, status.error));
        return unknown;
    }
    if (status.phase != "moved") {
        print_error(fmt::format("the VM stays here: {}", status.error));
        return stayed;
    }
    if (options.json)
        return 0;
    print("{} runs at {}: {} MiB sent in {:.1f} s and {} rounds, downtime {} ms; {} MiB left out as free, {} MiB as "
          "zero{}{}\n",
          options.name, options.migrate.destination, mib(status.sent), milliseconds(status.duration) / 1000,
          status.round, status.downtime.count() / 1000, mib(status.hinted), mib(status.zero),
          compressed ? "; " + saved(status) : "", options.migrate.verify ? "; memory is identical" : "");
    return 0;
}

} // namespace

void add_migrate(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("migrate", "Send a running VM to \"aerate receive\" somewhere else");
    command.footer("Ctrl-C cancels: the VM stays. Until the last moment it runs here, whatever fails.\n"
                   "Exit status: 0 it moved, 1 an error before the migration began, 2 wrong usage, 3 it stays here, 4 "
                   "it was given "
                   "away, and it is unknown whether it runs there.");
    auto options = std::make_shared<Options>();
    command.add_option("name", options->name, "name of the VM")->required();
    command.add_option("destination", options->migrate.destination, "tcp:ADDRESS:PORT or unix:PATH")->required();
    command.add_option("--downtime", options->downtime_ms, "how long the guest may be stopped")
        ->type_name("MS")
        ->check(CLI::Range(std::uint64_t{1}, control::migration_downtime_max_ms))
        ->capture_default_str();
    command
        .add_option("--max-rounds", options->migrate.max_rounds,
                    "give up when the downtime limit is still out of reach after this many")
        ->check(CLI::Range(1U, control::migration_rounds_max))
        ->capture_default_str();
    add_size(command, "--bandwidth", options->migrate.bandwidth, "at most this much a second");
    command.add_flag("--sweep", options->migrate.sweep,
                     "give the guest's free memory back first, the small blocks too");
    command.add_flag("--auto-converge", options->migrate.auto_converge,
                     "slow the guest down if it writes faster than it is sent");
    command.add_flag("--force", options->migrate.force, "stop the guest for as long as it takes instead of giving up");
    command.add_flag("--verify", options->migrate.verify,
                     "compare all memory on both sides before the guest runs there");
    add_lease(command, options->migrate.lease_path,
              "a file that both sides see, or a key in etcd: it decides who runs the VM if they lose each other");
    add_path(command, "--record", options->migrate.record_directory,
             "a directory: before the VM is given away, a file there says so, for whoever would start it again after "
             "this host has crashed")
        ->type_name("DIR");
    command
        .add_option("--compress", options->migrate.compression,
                    "none, lz4, zstd, zstd:LEVEL (1 to 19), used while that is faster than sending pages as they are; "
                    "auto: whichever of them is fastest")
        ->type_name("HOW")
        ->check([](const std::string& text) {
            const auto parsed = migration::parse_compression(text);
            return parsed ? "" : parsed.error().message;
        })
        ->capture_default_str();
    command
        .add_option("--streams", options->migrate.streams,
                    "connections that carry pages, each with a thread on both sides")
        ->check(CLI::Range(1U, control::migration_streams_max))
        ->capture_default_str();
    add_size(command, "--delta", options->migrate.delta_cache,
             "remember this much of what was sent last, and send a page that is written again as its differences");
    add_protection_flags(command, options->protection);
    command
        .add_option("--tls-name", options->protection.peer_name,
                    "the name in the destination's certificate (default: its address)")
        ->type_name("NAME")
        ->group("Protection of the connection (TLS 1.3)");
    command.add_flag("--json", options->json, "print the result as JSON");
    command.add_flag("--trace", options->trace, "show what the time went into, step by step (it is in the JSON too)")
        ->excludes("--json");
    command.callback([options, &chosen] {
        chosen = [options] {
            const auto& destination = options->migrate.destination;
            if (const auto vm = RunningVm::first_of(options->name, destination); !vm)
                return wrong_usage(vm.error());
            if (const auto endpoint = migration::Endpoint::parse(destination); !endpoint)
                return wrong_usage(endpoint.error());
            const auto status = migrate(*options);
            return status ? *status : report(status.error());
        };
    });
}

} // namespace aerate
