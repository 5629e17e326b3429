#include "programs/receiving.hpp"

#include "base/log.hpp"

#include <algorithm>
#include <utility>

namespace aerate {

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

bool Receiving::cancel() {
    if (!destination_)
        return false;
    cancelled_ = true;
    destination_->cancel();
    return true;
}

void Receiving::wait() {
    connections_ = loop_.watch(listener_->fd(), [this] { accept(); });
}

void Receiving::accept() {
    auto socket = listener_->accept();
    if (!socket)
        return log::warning("{}", socket.error().message);
    // One guest at a time: others wait in the backlog, and are refused by its end.
    connections_.cancel();
    receive(*std::move(socket));
}

void Receiving::receive(FileDescriptor socket) {
    arrival_ = std::make_unique<Arrival>(Arrival::Place{
        .settle = [this](control::VmConfig config) -> Result<control::VmConfig> {
            if (!options_.name.empty())
                config.name = options_.name;
            TRY(replace_drives(config, options_.drives));
            return config;
        },
        .assemble =
            [this](const control::VmConfig& config, GuestMemory memory) {
                return loop_.call([&] { return callbacks_.assemble(config, std::move(memory)); });
            },
        .load = [this](const state::SavedVm& saved) { return loop_.call([&] { return callbacks_.load(saved); }); },
        .run = [this]() -> Result<> {
            loop_.call([&] { callbacks_.run(); });
            return {};
        },
        .discard = [this] { loop_.call([&] { callbacks_.discard(); }); }});
    destination_ = std::make_unique<migration::Destination>(
        std::move(socket), *arrival_,
        migration::DestinationOptions{
            .lease = lease_ ? &*lease_ : nullptr, .tls = tls_.get(), .listener = &*listener_});
    thread_ = std::jthread([this] {
        auto result = destination_->receive();
        loop_.post([this, result = std::move(result)] { ended(result); });
    });
}

/// A stranger that connects, or a migration that comes to nothing, is no reason to go.
void Receiving::ended(const Result<migration::DestinationReport>& result) {
    thread_.join();
    destination_.reset();
    arrival_.reset();
    if (result) {
        listener_.reset();
        log::info("the guest has arrived: {} pages with content and {} that are zero, in {} rounds{}",
                  result->pages.value, result->zero.value, result->rounds,
                  result->verified ? "; memory is identical" : "");
        // Too late to refuse it.
        return cancelled_ ? callbacks_.cancelled() : void();
    }
    log::warning("no guest has arrived: {}", result.error().message);
    if (cancelled_)
        return callbacks_.cancelled();
    wait();
}

} // namespace aerate
