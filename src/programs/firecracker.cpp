// `aerate firecracker`, or aerate started by that name: Firecracker's command line, so that what starts Firecracker
// starts this instead. What Aerate does not have is refused by name, never taken and ignored.
#include "base/regular_file.hpp"
#include "control/run_flags.hpp"
#include "control/runtime_directory.hpp"
#include "control/version.hpp"
#include "programs/commands.hpp"
#include "programs/output.hpp"
#include "programs/run.hpp"
#include "programs/sandbox_flags.hpp"
#include "snapshot/header.hpp"
#include "snapshot/snapshot.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace aerate {
namespace {

constexpr int bad_configuration = 152; // of Firecracker's exit codes
constexpr std::uint64_t payload_max = 64U << 20;

struct RefusedFlag {
    const char* name;
    const char* why;
};

struct Flags {
    std::string id = "anonymous-instance";
    std::string socket = "/run/firecracker.socket";
    std::string config_file;
    std::string log_path;
    std::string level;
    std::string metrics_path;
    std::string metadata;
    std::optional<std::uint64_t> metadata_limit;
    std::string described;
    bool show_level = false;
    bool no_api = false;
    bool no_seccomp = false;
    SandboxFlags sandbox;
    bool boot_timer = false;
    bool version = false;
    bool snapshot_version = false;
    std::uint64_t payload = control::ServerLimits{}.body_bytes;
    std::optional<std::uint64_t> start_us;
    std::uint64_t start_cpu_us = 0;
    std::uint64_t parent_cpu_us = 0;
    std::string unused;
    std::vector<std::pair<const CLI::Option*, const RefusedFlag*>> refused;
};

constexpr auto refused_flags = std::to_array<RefusedFlag>({
    {"--seccomp-filter", "custom seccomp filters are not supported"},
    {"--module", "messages belong to no module that they could be filtered by"},
    {"--show-log-origin", "messages name no source lines"},
    {"--enable-pci", "devices are on virtio-mmio, and there is no PCI bus"},
});

void add_flags(CLI::App& command, Flags& flags) {
    command.add_option("--api-sock", flags.socket, "the API's socket")->type_name("FILE")->capture_default_str();
    command.add_option("--id", flags.id, "name of the VM")->capture_default_str();
    command.add_option("--config-file", flags.config_file, "starts the VM that this JSON file describes")
        ->type_name("FILE");
    command.add_flag("--no-api", flags.no_api, "serves no API; needs --config-file");
    command.add_option("--log-path", flags.log_path, "a file or FIFO for the log (default: standard error)")
        ->type_name("FILE");
    command.add_option("--level", flags.level, "Off, Error, Warning, Info (default), Debug or Trace");
    command.add_flag("--show-level", flags.show_level, "messages in that file name their level");
    command.add_option("--metrics-path", flags.metrics_path, "a file or FIFO for metrics, each a line of JSON")
        ->type_name("FILE");
    command.add_option("--http-api-max-payload-size", flags.payload, "of a request's body, in bytes")
        ->check(CLI::Range(std::uint64_t{1}, payload_max))
        ->capture_default_str();
    command.add_option("--metadata", flags.metadata, "what the guest's metadata are at first: a JSON file")
        ->type_name("FILE");
    command
        .add_option("--mmds-size-limit", flags.metadata_limit,
                    "of the metadata, in bytes (default: --http-api-max-payload-size)")
        ->check(CLI::Range(std::uint64_t{1}, payload_max));
    command.add_option("--start-time-us", flags.start_us, "when this process was started, for the metrics")
        ->check(check_number);
    command.add_option("--start-time-cpu-us", flags.start_cpu_us, "its CPU time by then")->check(check_number);
    command.add_option("--parent-cpu-time-us", flags.parent_cpu_us, "the CPU time of who started it")
        ->check(check_number);
    command.add_flag("--no-seccomp", flags.no_seccomp, "no seccomp filters; the rest of --sandbox all the same");
    add_sandbox_flags(command, flags.sandbox);
    command.add_flag("--boot-timer", flags.boot_timer, "the guest may tell that it has booted: 123 at 0xc0000000");
    command.add_flag("--version", flags.version, "prints the version of Firecracker whose interface this is");
    command.add_flag("--snapshot-version", flags.snapshot_version, "prints the version of snapshots that are written");
    command.add_option("--describe-snapshot", flags.described, "prints the version of this one")->type_name("FILE");
    for (const RefusedFlag& refused : refused_flags)
        flags.refused.emplace_back(
            command.add_option(refused.name, flags.unused, fmt::format("is refused: {}", refused.why))
                ->expected(0, 1)
                ->group("Not supported"),
            &refused);
}

std::chrono::microseconds now_on(clockid_t clock) {
    timespec now{};
    ::clock_gettime(clock, &now);
    return std::chrono::seconds(now.tv_sec) +
           std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::nanoseconds(now.tv_nsec));
}

/// As Firecracker reckons it: the jailer's CPU time counts as this process's.
control::FirecrackerMetrics::StartUp start_up(const Flags& flags) {
    if (!flags.start_us)
        return {};
    using std::chrono::microseconds;
    return {.wall = now_on(CLOCK_MONOTONIC) - microseconds(*flags.start_us),
            .cpu = now_on(CLOCK_PROCESS_CPUTIME_ID) - microseconds(flags.start_cpu_us) +
                   microseconds(flags.parent_cpu_us)};
}

Result<control::VmConfig> configuration(const Flags& flags) {
    control::VmConfig config = control::firecracker_vm_config(flags.id);
    if (!flags.config_file.empty())
        config = TRY(control::config_from({.config_file = flags.config_file, .name = flags.id}));
    control::LoggerConfig logger = config.monitor.logger.value_or(control::LoggerConfig{});
    if (!flags.log_path.empty())
        logger.log_path = flags.log_path;
    if (flags.show_level)
        logger.show_level = true;
    if (!flags.level.empty())
        for (const auto& [word, level] : control::log_level_words)
            if (word == flags.level)
                logger.level = level;
    if (logger != control::LoggerConfig{})
        config.monitor.logger = logger;
    if (!flags.metrics_path.empty()) {
        if (config.monitor.metrics)
            return fail("--metrics-path: the configuration file has metrics too; leave one of them out");
        config.monitor.metrics = control::MetricsConfig{flags.metrics_path};
    }
    TRY(control::make_paths_absolute(config));
    return config;
}

Result<std::shared_ptr<mmds::Store>> metadata(const Flags& flags) {
    auto store = std::make_shared<mmds::Store>(flags.metadata_limit.value_or(flags.payload));
    if (flags.metadata.empty())
        return store;
    const auto put = store->put(TRY(read_text_file(flags.metadata, payload_max)));
    if (!put)
        return fail("--metadata {}: {}", flags.metadata, put.error().message);
    return store;
}

Result<> describe(const std::string& path) {
    print("v{}.0.0\n", TRY(snapshot::version_of(path)));
    return {};
}

bool is_level(const std::string& word) {
    return std::ranges::any_of(control::log_level_words, [&](const auto& known) { return known.first == word; });
}

int refuse(std::string message) {
    report({std::move(message)});
    return firecracker_wrong_usage;
}

int run(const Flags& flags) {
    for (const auto& [option, refused] : flags.refused)
        if (option->count() > 0)
            return refuse(fmt::format("{}: {}; leave it out", refused->name, refused->why));
    if (flags.version) {
        print("Firecracker v{}\n\nThis is Aerate {}, with Firecracker's interface.\n", control::firecracker_version,
              control::version);
        return 0;
    }
    if (flags.snapshot_version) {
        print("v{}.0.0\n", snapshot::Header::version);
        return 0;
    }
    if (!flags.described.empty())
        return exit_code(describe(flags.described));
    if (flags.no_api && flags.config_file.empty())
        return refuse("--no-api needs --config-file");
    if (!flags.level.empty() && !is_level(flags.level)) {
        report({fmt::format("--level: {} is none; there are Off, Error, Warning, Info, Debug and Trace", flags.level)});
        return bad_configuration;
    }
    if (const auto valid = control::validate_vm_name(flags.id); !valid)
        return report({"--id: " + valid.error().message});
    auto config = configuration(flags);
    if (!config)
        return report(config.error());
    auto store = metadata(flags);
    if (!store)
        return report(store.error());
    RunOptions options{.config = *std::move(config), .start = !flags.config_file.empty()};
    const auto fds = options.start ? handed_over(options.config.network_interfaces) : possible_cards();
    options.sandbox = flags.sandbox;
    options.opens_anything = flags.sandbox.allowed.empty();
    if (auto begun = confine::begin({.use = flags.sandbox.use,
                                     .paths = !options.opens_anything,
                                     .filters = !flags.no_seccomp,
                                     .handed_over = fds});
        !begun)
        return report(begun.error());
    options.testbed = TestbedUse::never;
    options.like_firecracker = true;
    options.start_up = start_up(flags);
    options.boot_timer = flags.boot_timer;
    options.metadata = *std::move(store);
    if (flags.no_api)
        options.api.reset();
    else
        options.api->socket = flags.socket;
    if (options.api)
        options.api->limits.body_bytes = flags.payload;
    return run_vm(std::move(options));
}

} // namespace

bool is_firecracker(std::string_view argv0) {
    return std::filesystem::path(argv0).filename() == "firecracker";
}

void add_firecracker(CLI::App& app, Command& chosen) {
    auto flags = std::make_shared<Flags>();
    CLI::App& command =
        *app.add_subcommand("firecracker", "Take Firecracker's place: its command line, its API, its way to end");
    add_flags(command, *flags);
    command.callback([flags, &chosen] { chosen = [flags] { return run(*flags); }; });
}

} // namespace aerate
