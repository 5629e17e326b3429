#include "base/log.hpp"
#include "control/listening_socket.hpp"
#include "control/runtime_directory.hpp"
#include "control/server.hpp"
#include "host/daemon.hpp"
#include "host/page_source.hpp"
#include "host/pressure_trigger.hpp"
#include "host/proc_file.hpp"
#include "host/routes.hpp"
#include "host/threads.hpp"
#include "programs/commands.hpp"
#include "programs/flags.hpp"
#include "programs/host_questions.hpp"
#include "programs/output.hpp"
#include "programs/process.hpp"
#include "programs/sandbox_flags.hpp"
#include "web/server.hpp"

#include <CLI/CLI.hpp>

#include <memory>

namespace aerate {
namespace {

struct Flags {
    std::string configuration;
    std::string record;
    bool dry_run = false;
    std::string listen; ///< empty: there is no page
    web::Options page;
    SandboxFlags sandbox;
};

Result<hostd::Configuration> configuration_of(const Flags& flags, ByteCount host) {
    hostd::Configuration configuration;
    if (!flags.configuration.empty()) {
        const std::string text = TRY(hostd::read_file(flags.configuration));
        auto read = hostd::read_configuration(text, host);
        if (!read)
            return fail_because(std::move(read).error(), "{}", flags.configuration);
        configuration = *std::move(read);
    }
    configuration.dry_run |= flags.dry_run;
    return configuration;
}

std::vector<confine::Place> places_for(const Flags& flags, const hostd::Daemon::Options& options) {
    std::vector<confine::Place> places = places_of(flags.sandbox);
    places.push_back({options.directory.string(), confine::Access::directory});
    places.push_back({"/proc", confine::Access::read});
    places.push_back({"/dev/null", confine::Access::write});
    if (options.cgroups)
        places.push_back({options.cgroups->parent(), confine::Access::directory});
    return places;
}

/// Returns the daemon's socket, which is also what holds that there is one daemon.
Result<control::Server> serve(EventLoop& loop, const std::filesystem::path& directory, hostd::Service& service) {
    auto server = control::Server::create(
        loop, hostd::daemon_socket(directory),
        control::Server::Routes([&service](std::string_view method, std::string_view target, std::string_view body) {
            return hostd::answer(service, method, target, body);
        }));
    if (!server && control::answers(hostd::daemon_socket(directory)))
        return fail("another \"aerate host\" looks after the VMs in {} already: a host has one", directory.string());
    return server;
}

/// Returns the page's server, if there is to be one, and says where the page is. Its files are read before the process
/// confines itself.
Result<std::optional<web::Server>> serve_page(EventLoop& loop, const Flags& flags, web::Source& source) {
    if (flags.listen.empty())
        return std::nullopt;
    web::Options options = flags.page;
    options.listen = flags.listen;
    std::optional<web::Server> server = TRY(web::Server::start(loop, options, source));
    print("{}\n", server->url());
    (void)flush_output(); // whoever starts it may wait for the address
    return server;
}

/// Says once what the host lacks, and goes on without it.
template <typename T>
std::optional<T> if_there(Result<T> wish, std::string_view without) {
    if (wish)
        return *std::move(wish);
    log::info("host: {}: {}", without, wish.error().message);
    return std::nullopt;
}

/// Returns the exit status.
Result<int> run_host(const Flags& flags) {
    TRY(confine::begin({.use = flags.sandbox.use}));
    const auto memory = std::make_shared<hostd::HostMemory>(TRY(hostd::HostMemory::open()));
    const hostd::HostReading reading = TRY(memory->read());
    hostd::Daemon::Options options{.configuration = TRY(configuration_of(flags, reading.memory.total)),
                                   .directory = control::runtime_directory(),
                                   .read_host = [memory] { return memory->read(); }};
    TRY(control::secure_directory(options.directory));
    if (!flags.record.empty())
        options.recorder = TRY(hostd::Recorder::create(flags.record));
    if (!options.configuration.dry_run)
        options.cgroups = if_there(hostd::Cgroups::below(options.configuration.cgroup_parent), "no cgroups for VMs");
    auto trigger = if_there(hostd::arm_pressure_trigger(), "it looks by the clock alone");

    use_small_stacks();
    const FileDescriptor signals = TRY(signals_to_end());
    EventLoop loop;
    TRY(loop.prepare());
    const Subscription ending = loop.watch(signals.get(), [&] {
        if (take_end_signal(signals))
            loop.stop();
    });
    const std::vector<confine::Place> places = places_for(flags, options);
    const auto directory = options.directory;
    const bool dry_run = options.configuration.dry_run;
    const auto daemon = TRY(hostd::Daemon::start(loop, std::move(options)));
    const control::Server server = TRY(serve(loop, directory, *daemon));
    hostd::PageSource source(loop, *daemon, directory);
    const std::optional<web::Server> page = TRY(serve_page(loop, flags, source));
    std::optional<hostd::PressureWatch> pressure;
    if (trigger)
        pressure.emplace(loop, *std::move(trigger), [&] { daemon->hurry(); });
    log::info("host: looking after the VMs in {}{}", directory.string(), dry_run ? ", without doing anything" : "");
    TRY(confine::before_guest(hostd::host_thread, places));
    loop.run();
    return 0;
}

void add_page_flags(CLI::App& command, Flags& flags) {
    CLI::Option* const listen =
        command.add_option("--listen", flags.listen, "serve a page, and metrics, at this address: 127.0.0.1:9470")
            ->type_name("ADDRESS");
    const auto file = [&](const char* name, std::string& into, const char* help) {
        return add_path(command, name, into, help)->needs(listen);
    };
    file("--token-file", flags.page.token_path, "who knows what is in it may see the page (default: a new token)");
    CLI::Option* const certificate = file("--tls-cert", flags.page.certificate_path,
                                          "the page's certificate (PEM): for other addresses than loopback");
    CLI::Option* const key = file("--tls-key", flags.page.key_path, "the certificate's key");
    certificate->needs(key);
    key->needs(certificate);
    command.add_flag("--metrics-open", flags.page.metrics_open, "let everybody who can connect read /metrics")
        ->needs(listen);
}

} // namespace

void add_host(CLI::App& app, Command& chosen) {
    auto flags = std::make_shared<Flags>();
    CLI::App& command =
        *app.add_subcommand("host", "Share a host's memory among its VMs, by their balloons, for as long as it runs");
    command.footer("Without a command it is the daemon. See docs/host.md.");
    command.require_subcommand(0, 1);
    add_path(command, "--config", flags->configuration, "what counts for which VM: see docs/host.md");
    add_path(command, "--record", flags->record, "write what it sees and decides into this new file, for \"replay\"");
    command.add_flag("--dry-run", flags->dry_run, "decide and say so, but do nothing");
    add_page_flags(command, *flags);
    add_sandbox_flags(command, flags->sandbox);
    add_host_questions(command, chosen);
    add_host_doctor(command, chosen);
    command.callback([flags, &command, &chosen] {
        if (!command.get_subcommands().empty())
            return; // that has its own
        chosen = [flags] {
            const auto status = run_host(*flags);
            return status ? *status : report(status.error());
        };
    });
}

} // namespace aerate
