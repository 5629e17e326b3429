#include "control/size.hpp"
#include "migration/compression.hpp"
#include "migration/streams.hpp"
#include "programs/commands.hpp"
#include "programs/progress.hpp"
#include "programs/protection_flags.hpp"
#include "programs/running_vm.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

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
    std::string destination;
    std::string bandwidth;
    std::string lease;
    std::string record;
    std::string compression = "none";
    unsigned streams = 1;
    std::string delta;
    migration::Protection protection;
    unsigned downtime = 300;
    unsigned rounds = 30;
    bool verify = false;
    bool sweep = false;
    bool auto_converge = false;
    bool force = false;
    bool json = false;
};

constexpr std::chrono::hours patience{24};
constexpr std::chrono::milliseconds refresh{250};

/// Ctrl-C cancels the migration; what has become of it is told by its answer.
volatile std::sig_atomic_t interrupted = 0;

nlohmann::json request_of(const Options& options) {
    nlohmann::json request{{"destination", options.destination},
                           {"downtime_limit_ms", options.downtime},
                           {"max_rounds", options.rounds},
                           {"verify", options.verify},
                           {"sweep", options.sweep},
                           {"auto_converge", options.auto_converge},
                           {"force", options.force}};
    if (!options.bandwidth.empty())
        request["bandwidth_mib"] = control::parse_size(options.bandwidth)->value >> 20;
    if (!options.lease.empty())
        request["lease_path"] = std::filesystem::absolute(options.lease).string();
    if (!options.record.empty())
        request["record_directory"] = std::filesystem::absolute(options.record).string();
    request["compression"] = options.compression;
    request["streams"] = options.streams;
    if (!options.delta.empty())
        request["delta_cache_mib"] = control::parse_size(options.delta)->value >> 20;
    const migration::Protection& protection = options.protection;
    for (const auto& [field, path] : {std::pair{"psk_path", protection.psk_path},
                                      {"tls_certificate_path", protection.certificate_path},
                                      {"tls_key_path", protection.key_path},
                                      {"tls_ca_path", protection.ca_path}})
        if (!path.empty())
            request[field] = std::filesystem::absolute(path).string();
    if (!protection.peer_name.empty())
        request["tls_name"] = protection.peer_name;
    request["plain"] = protection.plain;
    return request;
}

/// What compression has made of the content so far, and what is in use.
std::string saved(const nlohmann::json& status) {
    const auto content = status.at("content_bytes").get<std::uint64_t>();
    const auto stored = status.at("stored_bytes").get<std::uint64_t>();
    return fmt::format("{} MiB of content made {} MiB ({})", content >> 20, stored >> 20,
                       status.at("compression").get<std::string>());
}

std::string describe(const nlohmann::json& status, const Options& options) {
    const auto number = [&](const char* field) { return status.at(field).get<std::uint64_t>(); };
    const auto mib_of_pages = [&](const char* field) { return number(field) >> 8; };
    const auto phase = status.at("phase").get<std::string>();
    std::string text = fmt::format("{}round {}: sent {} MiB at {} MiB/s, {} left",
                                   phase == "copying" ? "" : phase + ", ", number("round"), number("sent_bytes") >> 20,
                                   number("throughput_bytes_per_second") >> 20, mib_of_pages("pending_pages"));
    // Of the first round, which sends everything, neither says anything.
    if (const auto expected = number("expected_downtime_us"); expected > 0 && number("round") > 1)
        text += fmt::format(", would stop for {} ms", expected / 1000);
    if (number("round") > 1)
        text += fmt::format(", guest writes {} MiB/s", mib_of_pages("dirty_pages_per_second"));
    text += fmt::format(", {} MiB left out as free", mib_of_pages("hinted_pages"));
    if (options.compression != "none")
        text += fmt::format(", {}", saved(status));
    if (const auto throttle = number("throttle_percent"); throttle > 0)
        text += fmt::format(", throttled {} %", throttle);
    return text;
}

Result<void> migrate(const Options& options) {
    const RunningVm vm = TRY(RunningVm::named(options.name, patience));
    const RunningVm watched = TRY(RunningVm::named(options.name));
    std::signal(SIGINT, [](int) { interrupted = 1; });
    std::signal(SIGTERM, [](int) { interrupted = 1; });
    auto outcome =
        std::async(std::launch::async, [&] { return vm.call("PUT", "/aerate/migration", request_of(options).dump()); });
    ProgressLine line(options.name);
    bool cancelled = false;
    while (outcome.wait_for(refresh) != std::future_status::ready) {
        if (interrupted != 0 && !std::exchange(cancelled, true))
            (void)watched.call("DELETE", "/aerate/migration");
        if (const auto status = watched.call("GET", "/aerate/migration"))
            line.show(describe(nlohmann::json::parse(*status), options));
    }
    line.clear();
    const std::string answer = TRY(outcome.get());
    const auto status = nlohmann::json::parse(answer);
    const auto phase = status.at("phase").get<std::string>();
    if (options.json)
        fmt::print("{}\n", answer);
    if (phase == "unknown")
        return fail("the VM was given to {}, which did not answer: {}. It stands still here, and may run there: see "
                    "\"aerate resume --help\"",
                    options.destination, status.value("error", ""));
    if (phase != "moved")
        return fail("the VM stays here: {}", status.value("error", ""));
    if (options.json)
        return {};
    const auto number = [&](const char* field) { return status.at(field).get<std::uint64_t>(); };
    fmt::print(
        "{} runs at {}: {} MiB sent in {:.1f} s and {} rounds, downtime {} ms; {} MiB left out as free, {} MiB as "
        "zero{}{}\n",
        options.name, options.destination, number("sent_bytes") >> 20, static_cast<double>(number("duration_us")) / 1e6,
        number("round"), number("downtime_us") / 1000, number("hinted_pages") >> 8, number("zero_pages") >> 8,
        options.compression != "none" ? "; " + saved(status) : "", options.verify ? "; memory is identical" : "");
    return {};
}

} // namespace

void add_migrate(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("migrate", "Send a running VM to \"aerate receive\" somewhere else");
    command.footer("Ctrl-C cancels: the VM stays. Until the last moment it runs here, whatever fails.");
    auto options = std::make_shared<Options>();
    command.add_option("name", options->name, "name of the VM")->required();
    command.add_option("destination", options->destination, "tcp:ADDRESS:PORT or unix:PATH")->required();
    command.add_option("--downtime", options->downtime, "for how long the guest may stand still")
        ->type_name("MS")
        ->check(CLI::Range(1U, 600'000U))
        ->capture_default_str();
    command.add_option("--max-rounds", options->rounds, "give up when the limit is not in sight after so many")
        ->check(CLI::Range(1U, 1000U))
        ->capture_default_str();
    command.add_option("--bandwidth", options->bandwidth, "at most so much a second")
        ->option_text("SIZE")
        ->check(check_size);
    command.add_flag("--sweep", options->sweep, "give the guest's free memory back first, the small blocks too");
    command.add_flag("--auto-converge", options->auto_converge,
                     "slow the guest down if it writes faster than it is sent");
    command.add_flag("--force", options->force, "rather stop the guest for long than give up");
    command.add_flag("--verify", options->verify, "compare all memory on both sides before the guest runs there");
    command
        .add_option("--lease", options->lease,
                    "a file that both sides see: it decides who runs the VM if they lose "
                    "each other")
        ->type_name("FILE");
    command
        .add_option("--record", options->record,
                    "a directory: a file there tells that the VM was given away, before it is, for whoever would start "
                    "it again after this host has crashed")
        ->type_name("DIR");
    command
        .add_option("--compress", options->compression,
                    "none, lz4, zstd, zstd:LEVEL (1 to 19), used while that is faster than sending pages as they are; "
                    "auto: whichever of them is fastest")
        ->type_name("HOW")
        ->check([](const std::string& text) {
            const auto parsed = migration::parse_compression(text);
            return parsed ? "" : parsed.error().message;
        })
        ->capture_default_str();
    command.add_option("--streams", options->streams, "connections that carry pages, each with a thread on both sides")
        ->check(CLI::Range(1U, migration::max_streams))
        ->capture_default_str();
    command
        .add_option("--delta", options->delta,
                    "keep so much of what was sent last, and send only what differs of a page that is written again")
        ->option_text("SIZE")
        ->check(check_size);
    add_protection_flags(command, options->protection);
    command
        .add_option("--tls-name", options->protection.peer_name,
                    "the name in the destination's certificate (default: its address)")
        ->type_name("NAME")
        ->group("Protection of the connection (TLS 1.3)");
    command.add_flag("--json", options->json, "print the result as JSON");
    command.callback([options, &chosen] { chosen = [options] { return exit_code(migrate(*options)); }; });
}

} // namespace aerate
