#include "machine/vhost_user_daemon.hpp"

#include "base/log.hpp"
#include "control/listening_socket.hpp"
#include "control/peer.hpp"
#include "control/runtime_directory.hpp"

#include <unistd.h>

#include <sys/socket.h>

#include <algorithm>
#include <utility>

namespace aerate {
namespace {

/// Front-ends choose names by how they connect, so what is remembered of them is bounded.
constexpr std::size_t kept_max = 256;
/// Of its API, at a time; counted in descriptors_per_guest.
constexpr std::size_t callers_per_guest = 32;
/// Of ballooned and reported pages; a MiB. They are there to be shown, and are counted anew without.
constexpr std::size_t kept_runs_max = 65536;

} // namespace

VhostUserDaemon::VhostUserDaemon(EventLoop& loop, std::vector<VhostUserListener> listeners, Options options)
    : loop_(loop)
    , options_(std::move(options)) {
    for (VhostUserListener& listener : listeners)
        if (!watch(listening_.emplace_back(std::move(listener), Subscription())))
            watch_later();
}

VhostUserDaemon::~VhostUserDaemon() = default;

Result<> VhostUserDaemon::watch(Listening& listening) {
    listening.acceptable = TRY(loop_.try_watch(listening.listener.fd(), [this, &listening] { accept(listening); }));
    return {};
}

void VhostUserDaemon::watch_later() {
    retry_ = loop_.after(std::chrono::milliseconds(100), [this] {
        for (Listening& each : listening_)
            if (!each.acceptable.active() && !watch(each))
                return watch_later();
    });
}

void VhostUserDaemon::accept(Listening& listening) {
    FileDescriptor peer(::accept4(listening.listener.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!peer.valid()) {
        // Out of descriptors: the socket stays readable, so look again later rather than at once.
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            listening.acceptable.cancel();
            watch_later();
        }
        return;
    }
    static log::GuestLogLimit limit;
    const auto credentials = control::peer_credentials(peer.get());
    const bool allowed = credentials && (control::may_connect(credentials->uid, ::geteuid()) ||
                                         std::ranges::count(options_.users, credentials->uid) > 0);
    if (!allowed) {
        if (limit.allow())
            log::warning("vhost-user: turned away user {}, process {}: give --allow-user to serve it",
                         credentials ? static_cast<long>(credentials->uid) : -1, credentials ? credentials->pid : 0);
        return;
    }
    arrived({std::move(peer), *credentials, listening.listener.name()});
}

void VhostUserDaemon::arrived(Arrival arrival) {
    if (Served* const before = leaving(arrival)) {
        before->successor = std::move(arrival);
        return;
    }
    static log::GuestLogLimit limit;
    if (guests_.size() >= options_.guests_max) {
        if (limit.allow())
            log::warning("vhost-user: turned away process {}: there are {} guests", arrival.credentials.pid,
                         guests_.size());
        return;
    }
    const std::string name = free_name(arrival.called);
    if (auto served = serve(std::move(arrival), name); !served && limit.allow())
        log::error("vhost-user: cannot serve {}: {}", name, served.error().message);
}

/// The guest that connects again. Its thread may still be at work for the connection before, and has what is kept.
VhostUserDaemon::Served* VhostUserDaemon::leaving(const Arrival& arrival) {
    const auto front_end = ProcessIdentity::of(arrival.credentials.pid);
    const auto found = std::ranges::find_if(guests_, [&](const auto& guest) {
        const Served& served = guest.second;
        return front_end && served.front_end == front_end && served.called == arrival.called && !served.successor &&
               served.guest->hung_up();
    });
    return found == guests_.end() ? nullptr : &found->second;
}

/// web1, or web1-2, web1-3, … when there is one already.
std::string VhostUserDaemon::free_name(const std::string& wanted) const {
    constexpr std::size_t longest = 56; // leaves room for a number
    const std::string base = wanted.substr(0, longest);
    for (std::size_t number = 1;; ++number) {
        std::string name = number == 1 ? base : fmt::format("{}-{}", base, number);
        // Also not that of a VM of another process; its socket may be dead, and is replaced then.
        if (!guests_.contains(name) && !control::answers(control::socket_path(options_.api_directory, name)))
            return name;
    }
}

Result<> VhostUserDaemon::serve(Arrival arrival, const std::string& name) {
    const control::PeerCredentials front_end = arrival.credentials;
    Served served;
    served.called = std::move(arrival.called);
    served.front_end = ProcessIdentity::of(front_end.pid);
    const auto kept = kept_.find(name);
    const bool came_back = kept != kept_.end() && served.front_end == kept->second.front_end;
    served.guest = TRY(VhostUserGuest::create(
        loop_, std::move(arrival.socket),
        {.name = name,
         .front_end = front_end,
         .back_end = options_.back_end,
         .kept = came_back ? std::optional(kept->second.state) : std::nullopt},
        [this, name](const std::string& why, vhost_user::KeptState state) { ended(name, why, std::move(state)); }));
    VhostUserGuest* const guest = served.guest.get();
    served.server = std::make_unique<control::Server>(
        TRY(control::Server::create(loop_, control::socket_path(options_.api_directory, name),
                                    [guest](const control::Request& request, control::Server::Answer answer) {
                                        guest->handle(request, std::move(answer));
                                    },
                                    {.connections = callers_per_guest})));
    if (kept != kept_.end())
        kept_.erase(kept);
    guests_.emplace(name, std::move(served));
    static log::GuestLogLimit limit;
    if (limit.allow())
        log::info("vhost-user: {} is here (process {})", name, front_end.pid);
    return {};
}

void VhostUserDaemon::ended(const std::string& name, const std::string& why, vhost_user::KeptState state) {
    const auto found = guests_.find(name);
    if (found == guests_.end())
        return;
    static log::GuestLogLimit limit;
    if (limit.allow())
        log::info("vhost-user: {} is gone: {}", name, why);
    if (found->second.front_end)
        keep(name, {*found->second.front_end, std::move(state)});
    auto successor = std::move(found->second.successor);
    guests_.erase(found);
    if (successor)
        arrived(*std::move(successor));
}

void VhostUserDaemon::keep(const std::string& name, Kept kept) {
    balloon::BalloonState& balloon = kept.state.balloon;
    if (balloon.ballooned.size() + balloon.reported.size() > kept_runs_max)
        balloon.ballooned = balloon.reported = {};
    if (kept_.size() >= kept_max)
        kept_.erase(kept_.begin());
    kept_.insert_or_assign(name, std::move(kept));
}

} // namespace aerate
