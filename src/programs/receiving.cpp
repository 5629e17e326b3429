#include "programs/receiving.hpp"

#include "base/host.hpp"
#include "base/log.hpp"
#include "control/runtime_directory.hpp"
#include "etcd/lease.hpp"
#include "memory/process_memory.hpp"
#include "migration/threads.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <utility>

namespace aerate {
namespace {

/// Candidates that are heard at once, beside a guest that is on its way: beyond that the first of them must make room.
constexpr std::size_t max_unidentified = 16;
constexpr std::size_t max_candidates = 2 * max_unidentified;
/// After which a guest that makes no progress loses its slot to another. It may be waiting for its devices and disks.
constexpr std::chrono::seconds stall_limit{10};
/// Within which the one that lost its slot must be gone. The source of the next waits for an answer for 10 s.
constexpr std::chrono::seconds eviction_limit{8};

log::GuestLogLimit rejected_log_limit;

} // namespace

/// A connection from which a guest may come.
struct Receiving::Candidate final : migration::GuestSlot::Candidate {
    [[nodiscard]] std::chrono::milliseconds idle() const override { return destination->idle(); }
    void evict() override {
        evicted = true;
        destination->cancel();
    }

    std::string from;
    std::atomic<bool> evicted{false};
    std::unique_ptr<IncomingGuest> incoming;
    std::unique_ptr<migration::Destination> destination;
    std::jthread thread;
};

Result<std::unique_ptr<Receiving>> Receiving::start(EventLoop& loop, const ReceiveOptions& options,
                                                    Callbacks callbacks) {
    std::unique_ptr<migration::Lease> lease;
    if (!options.lease_path.empty()) {
        lease = TRY(etcd::open_lease(options.lease_path));
        TRY(lease->terms()); // what cannot be used is said now, not when a guest is here
    }
    auto tls = TRY(migration::protect(options.endpoint, options.protection));
    auto listener = TRY(migration::Listener::open(options.endpoint));
    std::unique_ptr<Receiving> receiving(
        new Receiving(loop, options, std::move(listener), std::move(lease), std::move(tls), std::move(callbacks)));
    TRY(receiving->open_entry());
    log::info("waiting for a guest at {}", receiving->listener_->where());
    if (options.wait.count() > 0)
        receiving->wait_timer_ = loop.after(options.wait, [&waits = *receiving] { waits.run_out_of_time(); });
    receiving->wait();
    return receiving;
}

Receiving::Receiving(EventLoop& loop, ReceiveOptions options, migration::Listener listener,
                     std::unique_ptr<migration::Lease> lease, std::unique_ptr<const migration::Tls> tls,
                     Callbacks callbacks)
    : loop_(loop)
    , options_(std::move(options))
    , listener_(std::move(listener))
    , lease_(std::move(lease))
    , tls_(std::move(tls))
    , callbacks_(std::move(callbacks))
    , slot_(stall_limit, eviction_limit) {}

Receiving::~Receiving() {
    (void)slot_.close();
    for (const auto& candidate : candidates_)
        candidate->destination->cancel();
}

Result<> Receiving::open_entry() {
    name_ = options_.name.empty() ? fmt::format("receive-{}", ::getpid()) : options_.name;
    size_ = {};
    TRY(control::validate_vm_name(name_));
    entry_.emplace(TRY(control::Server::create(loop_, control::socket_path(control::runtime_directory(), name_),
                                               [this](const control::Request& request, control::Server::Answer answer) {
                                                   if (!this->answer(request, answer))
                                                       answer(control::conflict("the guest has just arrived"));
                                               })));
    return {};
}

bool Receiving::answer(const control::Request& request, control::Server::Answer& answer) {
    if (arrived_)
        return false;
    if (std::holds_alternative<control::GetStatus>(request)) {
        control::VmStatus status;
        status.name = name_;
        status.pid = ::getpid();
        status.state = control::VmState::receiving;
        status.uptime =
            std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - started_);
        status.memory.guest_size = size_;
        if (size_.value == 0) // later a guest's memory would be counted too
            status.memory.monitor_overhead = resident_outside({});
        answer(std::move(status));
    } else if (std::holds_alternative<control::Stop>(request)) {
        answer(control::Done{});
        callbacks_.stop();
    } else {
        answer(control::conflict(fmt::format("no guest is here yet: this process waits for one at {}",
                                             listener_ ? listener_->where() : options_.endpoint.text())));
    }
    return true;
}

/// Ends the wait. A guest that is on its way may still arrive.
void Receiving::run_out_of_time() {
    out_of_time_ = true;
    if (slot_.taken())
        return;
    log::error("no guest has come within {} s", options_.wait.count());
    give_up();
}

/// Gives up: takes no further guest.
void Receiving::give_up() {
    if (cancel())
        return; // ended() goes on
    connections_.cancel();
    callbacks_.gave_up();
}

bool Receiving::cancel() {
    auto* const guest = static_cast<Candidate*>(slot_.close());
    if (guest != nullptr)
        guest->destination->cancel();
    return guest != nullptr;
}

/// Accepts connections while there is room, and no guest's streams are being joined: those are accepted where they
/// belong.
void Receiving::wait() {
    connections_.cancel();
    if (listener_ && !joining_ && candidates_.size() < max_candidates)
        connections_ = loop_.watch(listener_->fd(), [this] { accept(); });
}

/// Pauses first: the connection that could not be accepted still waits, and keeps the socket readable.
void Receiving::wait_again() {
    constexpr std::chrono::milliseconds pause{100};
    connections_ = loop_.after(pause, [this] { wait(); });
}

void Receiving::accept() {
    auto socket = listener_->accept();
    if (!socket) {
        if (rejected_log_limit.allow())
            log::warning("{}", socket.error().message);
        if (lacks_descriptors(socket.error().system_error))
            wait_again();
        return;
    }
    receive(*std::move(socket));
    make_room();
    wait();
}

/// Ends what watches the socket, or waits to, before the socket: another may have its number next.
void Receiving::stop_listening() {
    connections_.cancel();
    listener_.reset();
}

void Receiving::make_room() {
    const auto heard = [this](const auto& candidate) { return !slot_.is_holder(*candidate) && !candidate->evicted; };
    if (static_cast<std::size_t>(std::ranges::count_if(candidates_, heard)) > max_unidentified)
        slot_.reject(**std::ranges::find_if(candidates_, heard));
}

void Receiving::receive(FileDescriptor socket) {
    Candidate& candidate = *candidates_.emplace_back(std::make_unique<Candidate>());
    candidate.from = migration::peer_of(socket);
    candidate.incoming = std::make_unique<IncomingGuest>(IncomingGuest::Callbacks{
        .settle = [this, &candidate](ForeignConfig foreign) -> Result<ForeignConfig::Settled> {
            TRY(slot_.claim(candidate));
            // Not on this thread, which hears a stranger: it may open no taps and start no passt.
            return loop_.call([&]() -> Result<ForeignConfig::Settled> {
                auto settled = TRY(std::move(foreign).settle(
                    options_.grants, {.command = "aerate receive " + control::quoted(options_.address),
                                      .name = options_.name,
                                      .moves = true}));
                guest_announced(candidate, settled.config);
                return settled;
            });
        },
        .assemble =
            [this](const ForeignConfig::Settled& settled, GuestMemory memory) {
                return loop_.call([&] { return callbacks_.assemble(settled, std::move(memory)); });
            },
        .load = [this](const state::SavedVm& saved) { return loop_.call([&] { return callbacks_.load(saved); }); },
        .run = [this]() -> Result<> {
            loop_.call([&] {
                arrived_ = true;
                line_timer_.cancel();
                line_.reset(); // the terminal is the guest's now
                callbacks_.run();
            });
            return {};
        },
        .discard = [this] { loop_.call([&] { callbacks_.discard(); }); }});
    candidate.destination = std::make_unique<migration::Destination>(
        std::move(socket), *candidate.incoming,
        migration::DestinationOptions{.max_memory = options_.max_memory,
                                      .lease = lease_.get(),
                                      .tls = tls_.get(),
                                      .listener = &*listener_,
                                      .joined = [this] { loop_.post([this] { joined(); }); }});
    auto thread =
        host::start_thread(migration::destination_thread, "candidate", [this, &candidate](const std::stop_token&) {
            auto result = candidate.destination->receive();
            loop_.post([this, &candidate, result = std::move(result)] { ended(candidate, result); });
        });
    if (thread) {
        candidate.thread = *std::move(thread);
        return;
    }
    if (rejected_log_limit.allow())
        log::warning("{} was refused: {}", candidate.from, thread.error().message);
    candidates_.pop_back();
}

void Receiving::joined() {
    joining_ = false;
    wait();
}

void Receiving::guest_announced(Candidate& candidate, const control::VmConfig& config) {
    guest_ = &candidate;
    connections_.cancel();
    joining_ = true;
    entry_.reset(); // the guest's own takes its place
    name_ = config.name;
    size_ = config.machine.mem_size;
    began_ = shown_at_ = std::chrono::steady_clock::now();
    shown_ = {};
    log::info("the guest {} is on its way here, from {}", name_, guest_->from);
    line_.emplace("receiving " + name_);
    constexpr std::chrono::milliseconds refresh{500};
    line_timer_ = loop_.every(refresh, [this] { show_progress(); });
}

void Receiving::show_progress() {
    const auto now = std::chrono::steady_clock::now();
    const auto progress = guest_->destination->progress();
    const std::chrono::duration<double> passed = now - std::exchange(shown_at_, now);
    const double received = static_cast<double>((progress.wire - shown_.wire).value);
    shown_ = progress;
    line_->show(fmt::format("round {}, {} MiB, {:.0f} MiB/s", progress.round, progress.wire.value >> 20,
                            received / passed.count() / (1U << 20)));
}

/// Keeps waiting when a stranger has connected or a migration has failed.
void Receiving::ended(Candidate& candidate, const Result<migration::DestinationReport>& result) {
    const auto found = std::ranges::find(candidates_, &candidate, &std::unique_ptr<Candidate>::get);
    const auto gone = std::move(*found); // joined at the end of this
    candidates_.erase(found);
    const bool cancelled = slot_.closed();
    if (result)
        (void)slot_.close(); // before it is left: there is one guest
    const bool was_guest = slot_.leave(candidate);
    if (was_guest) {
        guest_ = nullptr;
        joining_ = false;
        line_timer_.cancel();
        line_.reset();
    }
    if (result) {
        wait_timer_.cancel();
        stop_listening();
        for (const auto& stranger : candidates_)
            stranger->destination->cancel();
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began_;
        log::info("the guest has arrived and runs here as {}: {} MiB in {:.1f} s and {} rounds{}", name_,
                  result->wire.value >> 20, took.count(), result->rounds,
                  result->verified ? "; memory is identical" : "");
        // Too late to refuse it.
        return cancelled ? callbacks_.gave_up() : void();
    }
    if (!listener_)
        return; // one that came here beside the guest
    const bool last = was_guest && (options_.once || out_of_time_);
    if (was_guest || (!cancelled && rejected_log_limit.allow()))
        log::warning("no guest has arrived from {}: {}{}", gone->from,
                     !gone->evicted ? result.error().message
                     : was_guest    ? "it made no progress, and another guest came"
                                    : "it sent nothing, and others connected",
                     cancelled || last ? "" : fmt::format("; still waiting at {}", listener_->where()));
    if (cancelled)
        return was_guest ? callbacks_.gave_up() : void();
    if (last)
        return give_up();
    if (was_guest)
        if (auto opened = open_entry(); !opened)
            log::warning("this process is not in \"aerate ps\" while it waits: {}", opened.error().message);
    wait();
}

} // namespace aerate
