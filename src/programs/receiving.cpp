#include "programs/receiving.hpp"

#include "base/log.hpp"

#include <algorithm>
#include <utility>

namespace aerate {
namespace {

/// Who are heard at once: then the first of them must make room.
constexpr std::size_t most_heard = 16;
constexpr std::size_t most_visitors = 2 * most_heard;

log::GuestLogLimit strangers_told_of;

} // namespace

/// Somebody who has connected: a guest may come from there.
struct Receiving::Visitor {
    std::string from;
    bool made_room = false;
    std::unique_ptr<Arrival> arrival;
    std::unique_ptr<migration::Destination> destination;
    std::jthread thread;
};

Result<> replace_drives(control::VmConfig& config, const std::vector<std::string>& drives) {
    for (const std::string& text : drives) {
        const auto equals = text.find('=');
        if (equals == std::string::npos)
            return fail("--drive {}: must be ID=FILE", text);
        const auto found = std::ranges::find(config.drives, text.substr(0, equals), &control::Drive::drive_id);
        if (found == config.drives.end()) {
            std::string known;
            for (const control::Drive& drive : config.drives)
                known += " " + drive.drive_id;
            return fail("--drive {}: the guest has no such drive{}{}", text, known.empty() ? "" : "; it has", known);
        }
        found->path_on_host = text.substr(equals + 1);
    }
    return {};
}

Result<std::unique_ptr<Receiving>> Receiving::start(EventLoop& loop, const ReceiveOptions& options,
                                                    Callbacks callbacks) {
    std::optional<migration::FileLease> lease;
    if (!options.lease_path.empty())
        lease.emplace(TRY(migration::FileLease::open(options.lease_path)));
    auto tls = TRY(migration::protect(options.endpoint, options.protection));
    auto listener = TRY(migration::Listener::open(options.endpoint));
    log::info("waiting for a guest at {}", listener.where());
    std::unique_ptr<Receiving> receiving(
        new Receiving(loop, options, std::move(listener), std::move(lease), std::move(tls), std::move(callbacks)));
    receiving->wait();
    return receiving;
}

Receiving::Receiving(EventLoop& loop, ReceiveOptions options, migration::Listener listener,
                     std::optional<migration::FileLease> lease, std::unique_ptr<const migration::Tls> tls,
                     Callbacks callbacks)
    : loop_(loop)
    , options_(std::move(options))
    , listener_(std::move(listener))
    , lease_(std::move(lease))
    , tls_(std::move(tls))
    , callbacks_(std::move(callbacks)) {}

Receiving::~Receiving() {
    for (const auto& visitor : visitors_)
        visitor->destination->cancel();
}

bool Receiving::cancel() {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    if (guest_ == nullptr)
        return false;
    guest_->destination->cancel();
    return true;
}

/// While there is room, and no guest on its way: the streams of one are accepted by its end, and nobody else is.
void Receiving::wait() {
    connections_.cancel();
    if (listener_ && visitors_.size() < most_visitors)
        connections_ = loop_.watch(listener_->fd(), [this] { accept(); });
}

void Receiving::accept() {
    auto socket = listener_->accept();
    if (!socket) {
        if (strangers_told_of.allow())
            log::warning("{}", socket.error().message);
        return;
    }
    receive(*std::move(socket));
    if (visitors_.size() > most_heard)
        make_room(*visitors_[visitors_.size() - 1 - most_heard]);
    wait();
}

void Receiving::make_room(Visitor& oldest) {
    const std::lock_guard lock(mutex_);
    if (guest_ == &oldest)
        return;
    oldest.made_room = true;
    oldest.destination->cancel();
}

void Receiving::receive(FileDescriptor socket) {
    Visitor& visitor = *visitors_.emplace_back(std::make_unique<Visitor>());
    visitor.from = migration::peer_of(socket);
    visitor.arrival = std::make_unique<Arrival>(Arrival::Place{
        .settle = [this, &visitor](control::VmConfig config) -> Result<control::VmConfig> {
            TRY(claim(visitor));
            if (!options_.name.empty())
                config.name = options_.name;
            TRY(replace_drives(config, options_.drives));
            loop_.call([&] { coming(config); });
            return config;
        },
        .assemble =
            [this](const control::VmConfig& config, GuestMemory memory) {
                return loop_.call([&] { return callbacks_.assemble(config, std::move(memory)); });
            },
        .load = [this](const state::SavedVm& saved) { return loop_.call([&] { return callbacks_.load(saved); }); },
        .run = [this]() -> Result<> {
            loop_.call([&] {
                line_timer_.cancel();
                line_.reset(); // the terminal is the guest's now
                callbacks_.run();
            });
            return {};
        },
        .discard = [this] { loop_.call([&] { callbacks_.discard(); }); }});
    visitor.destination = std::make_unique<migration::Destination>(
        std::move(socket), *visitor.arrival,
        migration::DestinationOptions{
            .lease = lease_ ? &*lease_ : nullptr, .tls = tls_.get(), .listener = &*listener_});
    visitor.thread = std::jthread([this, &visitor] {
        auto result = visitor.destination->receive();
        loop_.post([this, &visitor, result = std::move(result)] { ended(visitor, result); });
    });
}

/// One guest at a time. The visitor's thread.
Result<> Receiving::claim(Visitor& visitor) {
    const std::lock_guard lock(mutex_);
    if (guest_ != nullptr || cancelled_)
        return fail("another guest is on its way here");
    guest_ = &visitor;
    return {};
}

void Receiving::coming(const control::VmConfig& config) {
    connections_.cancel();
    name_ = config.name;
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

/// A stranger that connects, or a migration that comes to nothing, is no reason to go.
void Receiving::ended(Visitor& visitor, const Result<migration::DestinationReport>& result) {
    const auto found = std::ranges::find(visitors_, &visitor, &std::unique_ptr<Visitor>::get);
    const auto gone = std::move(*found); // joined at the end of this
    visitors_.erase(found);
    bool was_guest = false;
    bool cancelled = false;
    {
        const std::lock_guard lock(mutex_);
        was_guest = guest_ == &visitor;
        if (was_guest)
            guest_ = nullptr;
        cancelled = cancelled_;
    }
    if (was_guest) {
        line_timer_.cancel();
        line_.reset();
    }
    if (result) {
        listener_.reset();
        for (const auto& stranger : visitors_)
            stranger->destination->cancel();
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began_;
        log::info("the guest has arrived and runs here as {}: {} MiB in {:.1f} s and {} rounds{}", name_,
                  result->wire.value >> 20, took.count(), result->rounds,
                  result->verified ? "; memory is identical" : "");
        // Too late to refuse it.
        return cancelled ? callbacks_.cancelled() : void();
    }
    if (!listener_)
        return; // one that came here beside the guest
    if (was_guest || (!cancelled && strangers_told_of.allow()))
        log::warning("no guest has arrived from {}: {}{}", gone->from,
                     gone->made_room ? "it said nothing, and others came" : result.error().message,
                     cancelled ? "" : fmt::format("; still waiting at {}", listener_->where()));
    if (cancelled)
        return was_guest ? callbacks_.cancelled() : void();
    const bool free = [&] {
        const std::lock_guard lock(mutex_);
        return guest_ == nullptr;
    }();
    if (free)
        wait();
}

} // namespace aerate
