#include "daemon/vhost_user_daemon.hpp"

#include "base/check.hpp"
#include "base/host.hpp"
#include "base/log.hpp"
#include "base/peer.hpp"
#include "control/listening_socket.hpp"
#include "control/runtime_directory.hpp"
#include "machine/sandbox_status.hpp"

#include <unistd.h>

#include <sys/syscall.h>

#include <algorithm>
#include <utility>

namespace aerate {
namespace {

/// Front-ends choose names by how they connect, so what is remembered of them is bounded.
constexpr std::size_t kept_max = 256;
/// Connections to a guest's API at a time; counted in descriptors_per_guest.
constexpr std::size_t callers_per_guest = 32;
/// Runs of ballooned and reported pages that are kept: a MiB. They are only shown, and are counted anew without.
constexpr std::size_t kept_runs_max = 65536;

} // namespace

VhostUserDaemon::VhostUserDaemon(EventLoop& loop, std::vector<VhostUserListener> listeners, Options options)
    : loop_(loop)
    , options_(std::move(options)) {
    for (VhostUserListener& listener : listeners)
        if (Acceptor& acceptor = listening_.emplace_back(loop, std::move(listener), *this).acceptor; !acceptor.start())
            acceptor.start_later();
}

VhostUserDaemon::~VhostUserDaemon() = default;

VhostUserDaemon::Listening::Listening(EventLoop& loop, VhostUserListener made, VhostUserDaemon& daemon)
    : listener(std::move(made))
    , acceptor(loop, listener.fd(),
               [this, &daemon](FileDescriptor peer) { daemon.accepted(std::move(peer), listener.name()); }) {}

void VhostUserDaemon::accepted(FileDescriptor peer, const std::string& called) {
    static log::GuestLogLimit limit;
    const auto credentials = peer_credentials(peer.get());
    const bool allowed = credentials && (is_trusted_user(credentials->uid, ::geteuid()) ||
                                         std::ranges::count(options_.users, credentials->uid) > 0);
    if (!allowed) {
        if (limit.allow())
            log::warning("vhost-user: refused user {}, process {}: give --allow-user to serve it",
                         credentials ? static_cast<long>(credentials->uid) : -1, credentials ? credentials->pid : 0);
        return;
    }
    connected({std::move(peer), *credentials, called});
}

void VhostUserDaemon::connected(NewConnection connection) {
    CHECK(loop_.owned_here());
    if (Served* const before = predecessor_of(connection)) {
        before->successor = std::move(connection);
        return;
    }
    static log::GuestLogLimit limit;
    if (const char* const why = refuse(connection)) {
        if (limit.allow())
            log::warning("vhost-user: refused process {} of user {}: {}", connection.credentials.pid,
                         connection.credentials.uid, why);
        return;
    }
    if (guests_.size() >= options_.guests_max) {
        if (Served* const idle = without_memory()) {
            idle->guest->send_away("it has shared no guest memory, and another front-end needs its place");
            idle->successor = std::move(connection);
        } else if (limit.allow()) {
            log::warning("vhost-user: refused process {}: there are {} guests", connection.credentials.pid,
                         guests_.size());
        }
        return;
    }
    const std::string name = free_name(connection.called);
    if (auto served = serve(std::move(connection), name); !served && limit.allow())
        log::error("vhost-user: cannot serve {}: {}", name, served.error().message);
}

/// Says why this front-end may have no more guests, if so. The users who may connect share the places.
const char* VhostUserDaemon::refuse(const NewConnection& connection) const {
    const auto front_end = ProcessIdentity::of(connection.credentials.pid);
    std::size_t of_process = 0;
    std::size_t of_user = 0;
    for (const auto& [name, served] : guests_) {
        if (served.guest->hung_up())
            continue;
        if (served.user != connection.credentials.uid)
            continue;
        ++of_user;
        // Those that nobody can tell apart, of another process namespace, count as one.
        if (served.front_end == front_end)
            ++of_process;
    }
    if (of_process >= options_.guests_per_process)
        return "this process has as many guests as one may have (--max-guests-per-process)";
    if (users() > 1 && of_user >= std::max<std::size_t>(options_.guests_max / users(), 1))
        return "this user has its share of the places (--max-guests, divided among the users who may connect)";
    return nullptr;
}

std::shared_ptr<vhost_user::MemoryBudget> VhostUserDaemon::budget_of(uid_t user,
                                                                     const std::optional<ProcessIdentity>& process) {
    using vhost_user::MemoryBudget;
    const auto& all = options_.back_end.memory_budget;
    if (!all)
        return nullptr;
    const auto unused = [](const auto& budget) { return budget.second.expired(); };
    std::erase_if(process_budgets_, unused);
    std::erase_if(user_budgets_, unused);
    auto& of_process = process_budgets_[{user, process}];
    if (auto budget = of_process.lock())
        return budget;
    auto of_user = user_budgets_[user].lock();
    if (!of_user) {
        of_user =
            std::make_shared<MemoryBudget>(all, ByteCount{all->most().value / users()}, fmt::format("user {}", user),
                                           "--max-memory, divided among the users who may connect");
        user_budgets_[user] = of_user;
    }
    const ByteCount limit = options_.memory_per_process;
    const ByteCount most = limit.value == 0 ? of_user->most() : std::min(limit, of_user->most());
    auto budget = std::make_shared<MemoryBudget>(
        of_user, most, process ? fmt::format("process {}", process->pid) : "this user's processes elsewhere",
        "--max-memory-per-process");
    of_process = budget;
    return budget;
}

/// Returns the one that has waited longest for a guest to share its memory, and longer than is usual.
VhostUserDaemon::Served* VhostUserDaemon::without_memory() {
    Served* longest = nullptr;
    auto since = std::chrono::steady_clock::now() - options_.without_memory_max;
    for (auto& [name, served] : guests_) {
        const auto waits_since = served.guest->without_memory_since();
        if (served.successor || !waits_since || *waits_since > since)
            continue;
        since = *waits_since;
        longest = &served;
    }
    return longest;
}

/// Returns the guest that connects again. Its thread may still be at work for the old connection, and has what is kept.
VhostUserDaemon::Served* VhostUserDaemon::predecessor_of(const NewConnection& connection) {
    const auto front_end = ProcessIdentity::of(connection.credentials.pid);
    const auto found = std::ranges::find_if(guests_, [&](const auto& guest) {
        const Served& served = guest.second;
        return front_end && served.front_end == front_end && served.called == connection.called && !served.successor &&
               served.guest->hung_up();
    });
    return found == guests_.end() ? nullptr : &found->second;
}

/// Returns web1, or web1-2, web1-3, … when that is in use.
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

Result<> VhostUserDaemon::serve(NewConnection connection, const std::string& name) {
    const PeerCredentials front_end = connection.credentials;
    Served served;
    served.called = std::move(connection.called);
    served.user = front_end.uid;
    served.front_end = ProcessIdentity::of(front_end.pid);
    const auto kept = kept_.find(name);
    vhost_user::BackEndOptions back_end = options_.back_end;
    back_end.memory_budget = budget_of(front_end.uid, served.front_end);
    const bool came_back = kept != kept_.end() && served.front_end == kept->second.front_end;
    served.guest = TRY(VhostUserGuest::create(
        loop_, std::move(connection.socket),
        {.name = name,
         .front_end = front_end,
         .back_end = std::move(back_end),
         .kept = came_back ? std::optional(kept->second.state) : std::nullopt,
         .silence_max = options_.silence_max,
         .sandbox = sandbox_status(),
         .memory_policy = options_.memory_policy},
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
        log::info("vhost-user: {} has connected (process {})", name, front_end.pid);
    return {};
}

void VhostUserDaemon::ended(const std::string& name, const std::string& why, vhost_user::KeptState state) {
    CHECK(loop_.owned_here());
    const auto found = guests_.find(name);
    if (found == guests_.end())
        return;
    static log::GuestLogLimit limit;
    if (limit.allow())
        log::info("vhost-user: {} is gone: {}", name, why);
    if (found->second.front_end)
        keep(name, *found->second.front_end, std::move(state));
    auto successor = std::move(found->second.successor);
    guests_.erase(found);
    if (successor)
        connected(*std::move(successor));
}

/// Keeps nothing for a process that is gone, or whose end the host gives us no way to watch.
void VhostUserDaemon::keep(const std::string& name, const ProcessIdentity& front_end, vhost_user::KeptState state) {
    FileDescriptor process = host::descriptor([&] { return ::syscall(SYS_pidfd_open, front_end.pid, 0U); });
    if (!process.valid() || ProcessIdentity::of(front_end.pid) != front_end)
        return;
    auto process_ended = loop_.try_watch(process.get(), [this, front_end] {
        std::erase_if(kept_, [&](const auto& kept) { return kept.second.front_end == front_end; });
    });
    if (!process_ended)
        return;
    const auto its = [&](const auto& kept) { return kept.second.front_end == front_end; };
    if (static_cast<std::size_t>(std::ranges::count_if(kept_, its)) >= options_.guests_per_process)
        kept_.erase(std::ranges::find_if(kept_, its));
    if (kept_.size() >= kept_max)
        kept_.erase(kept_.begin());
    balloon::BalloonState& balloon = state.balloon;
    if (balloon.ballooned.size() + balloon.reported.size() > kept_runs_max)
        balloon.ballooned = balloon.reported = {};
    kept_.insert_or_assign(name, Kept{front_end, std::move(state), std::move(process), *std::move(process_ended)});
}

} // namespace aerate
