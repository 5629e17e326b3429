#include "programs/vm_process.hpp"

#include "control/runtime_directory.hpp"
#include "etcd/address.hpp"
#include "programs/process.hpp"

#include <unistd.h>

#include <filesystem>
#include <string_view>

namespace aerate {
namespace {

[[nodiscard]] Result<ConsoleOptions> console_from(const std::string& where, EventLoop& loop) {
    if (where == "none")
        return ConsoleOptions{};
    if (where == "socket") {
        auto socket = std::make_shared<ConsoleSocket>(loop);
        return ConsoleOptions{.kind = control::ConsoleKind::socket, .output = socket, .socket = socket};
    }
    const bool terminal = where == "stdio";
    auto sink = TRY(terminal ? OutputSink::duplicate(STDOUT_FILENO) : OutputSink::open_file(where));
    return ConsoleOptions{.kind = terminal ? control::ConsoleKind::terminal : control::ConsoleKind::file,
                          .output = std::make_shared<OutputSink>(std::move(sink))};
}

constexpr int no_guest_arrived = 3; ///< exit status of "aerate receive"

/// After which a monitor does little that is new.
constexpr std::chrono::seconds start_up{5};

} // namespace

int VmProcess::exit_code() const {
    return receiving_ && !receiving_->arrived() ? no_guest_arrived : 0;
}

Result<> VmProcess::run() {
    TRY(open_monitor_files());
    TRY(loop_.prepare());
    ending_ = TRY(loop_.try_watch(signals_.get(), [this] { handle_signal(); }));
    if (options_.receive)
        TRY(receive());
    else
        TRY(begin());
    if (options_.started)
        if (auto told = options_.started(); !told) {
            log::error("{}: {}", options_.config.name, told.error().message);
            loop_.post([this] { quit(); });
        }
    for (;;) {
        loop_.run();
        if (outcome_ != Outcome::reset || options_.like_firecracker)
            return {};
        options_.config = machine_->config();
        console_ = machine_->console();
        replace_machine(machine_->files());
        machine_->begin_again();
        for (auto& [request, answer] : std::exchange(waiting_, {}))
            machine_->handle(request, std::move(answer));
    }
}

void VmProcess::handle_signal() {
    if (!take_end_signal(signals_))
        return;
    stop();
}

Result<> VmProcess::begin() {
    TRY(serve());
    if (auto restored = std::exchange(options_.restored, nullptr))
        return machine_->start(TRY(saved_guest(*restored)), !options_.start);
    return options_.start ? machine_->start() : Result<>();
}

Result<> VmProcess::open_monitor_files() {
    const control::MonitorConfig& monitor = options_.config.monitor;
    if (monitor.logger)
        TRY(set_up_log(*monitor.logger, options_.config.name));
    if (monitor.metrics)
        TRY(metrics_->open(monitor.metrics->metrics_path));
    metrics_->set_start_up(options_.start_up);
    console_ = TRY(console_from(options_.console, loop_));
    if (monitor.serial)
        console_ = TRY(serial_output(*monitor.serial, console_));
    return {};
}

Result<> VmProcess::serve() {
    replace_machine(nullptr);
    if (!options_.api)
        return {};
    const bool named = !options_.api->socket.empty();
    const std::filesystem::path path = named ? std::filesystem::path(options_.api->socket)
                                             : control::socket_path(control::runtime_directory(), options_.config.name);
    server_.emplace(TRY(control::Server::create(
        loop_, path,
        [this](control::Request request, control::Server::Answer answer) {
            handle(std::move(request), std::move(answer));
        },
        options_.api->limits, named ? control::SocketPlace::named_by_operator : control::SocketPlace::own_directory)));
    return named ? Result<>() : serve_console();
}

Result<> VmProcess::serve_console() {
    const auto directory = control::runtime_directory();
    std::error_code none; // those of an earlier VM of this name: another guest has others
    std::filesystem::remove(control::known_hosts_path(directory, options_.config.name), none);
    if (!console_.socket)
        return {};
    const auto path = control::console_path(directory, options_.config.name);
    console_listener_.emplace(TRY(control::listen_for_requests(path)));
    return console_.socket->listen(console_listener_->fd());
}

std::optional<std::vector<confine::Place>> VmProcess::places() const {
    if (options_.opens_anything)
        return {};
    std::vector<confine::Place> places = places_of(options_.sandbox);
    if (options_.api && !options_.api->socket.empty())
        add_socket(options_.api->socket, places);
    if (options_.receive) {
        for (const std::string& directory : options_.receive->grants.directories)
            places.push_back({directory, confine::Access::directory});
        if (const std::string& lease = options_.receive->lease_path; !lease.empty() && !etcd::Address::is_one(lease))
            places.push_back({std::filesystem::absolute(lease).parent_path(), confine::Access::directory});
        constexpr std::string_view on_this_host = "unix:";
        if (options_.receive->address.starts_with(on_this_host))
            add_socket(options_.receive->address.substr(on_this_host.size()), places);
    }
    return places;
}

void VmProcess::hang_up() {
    if (console_.socket)
        console_.socket->hang_up();
    console_listener_.reset();
}

void VmProcess::handle(control::Request request, control::Server::Answer answer) {
    if (receiving_ && receiving_->answer(request, answer))
        return;
    if (machine_->resetting())
        return waiting_.emplace_back(std::move(request), std::move(answer)), void();
    if (auto* const load = std::get_if<control::LoadSnapshot>(&request))
        load->grants.as_saved = options_.like_firecracker;
    machine_->handle(request, std::move(answer));
}

Result<> VmProcess::receive() {
    receiving_ = TRY(Receiving::start(
        loop_, *options_.receive,
        {.assemble = [this](const ForeignConfig::Settled& settled, GuestMemory memory) -> Result<GuestMemory*> {
             if (discarding_)
                 return fail("the previous guest is still being discarded");
             auto made = make_machine(settled, std::move(memory));
             if (!made)
                 discard();
             return made;
         },
         .load = [this](const state::SavedVm& saved) { return machine_->arrive(saved); },
         .run = [this] { machine_->go(); },
         .discard = [this] { discard(); },
         .gave_up = [this] { quit(); },
         .stop = [this] { stop(); }}));
    return {};
}

Result<GuestMemory*> VmProcess::make_machine(const ForeignConfig::Settled& settled, GuestMemory memory) {
    options_.config = settled.config;
    hang_up();
    TRY(serve());
    return machine_->expect(std::move(memory), settled.files);
}

void VmProcess::discard() {
    server_.reset();
    hang_up();
    discarding_ = machine_.has_value();
    receiving_->set_busy(discarding_);
    if (machine_)
        machine_->kill();
}

void VmProcess::stop() {
    if (receiving_ && receiving_->cancel())
        return; // it calls back
    quit();
}

void VmProcess::quit() {
    if (discarding_)
        cancelled_ = true;
    else
        machine_ ? machine_->kill() : end(Outcome::killed);
}

void VmProcess::end(Outcome how) {
    if (discarding_)
        return loop_.post([this] { discarded(); }); // this is called from inside the machine
    outcome_ = how;
    loop_.stop();
}

/// Until here the machine is being discarded: whoever wants this process to end meanwhile finds one that ends already.
void VmProcess::discarded() {
    machine_.reset();
    discarding_ = false;
    receiving_->set_busy(false);
    if (cancelled_)
        end(Outcome::killed);
}

void VmProcess::replace_machine(std::shared_ptr<HostFiles> files) {
    // The old one first: there is memory, and a terminal, for one only.
    machine_.reset();
    machine_.emplace(loop_, options_.config,
                     Machine::Options{.console = console_,
                                      .files = std::move(files),
                                      .metrics = metrics_,
                                      .events = events_,
                                      .metadata = options_.metadata,
                                      .ended = [this](Outcome how) { end(how); },
                                      .places = places(),
                                      .boot_timer = options_.boot_timer});
    started_ = loop_.after(start_up, forget_start_up_code);
}

} // namespace aerate
