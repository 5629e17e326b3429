#include "web/server.hpp"

#include "base/check.hpp"
#include "base/host.hpp"
#include "base/log.hpp"
#include "event/acceptor.hpp"
#include "migration/link/endpoint.hpp"
#include "web/connection.hpp"
#include "web/tls.hpp"

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ssl/context.hpp>

#include <algorithm>
#include <exception>
#include <optional>
#include <set>
#include <system_error>
#include <vector>

namespace aerate::web {
namespace {

using Clock = std::chrono::steady_clock;
using Tls = std::shared_ptr<boost::asio::ssl::context>;

Result<boost::asio::ip::address> address_in(std::string_view listen) {
    boost::system::error_code error;
    const auto name = host_name(listen);
    auto address = boost::asio::ip::make_address(std::string(name.value_or("")), error);
    if (error)
        return fail("--listen takes a numeric address and a port, 127.0.0.1:9470 or [::1]:9470: not {}", listen);
    return address;
}

Result<Tls> tls_for(const boost::asio::ip::address& address, const Options& options) {
    if (options.certificate_path.empty() != options.key_path.empty())
        return fail("the page needs both a certificate and its key, or neither");
    if (!options.certificate_path.empty())
        return load_tls(options.certificate_path, options.key_path);
    if (!address.is_loopback())
        return fail("{} can be reached from other machines, which would see the token: give a certificate and its key, "
                    "or listen at 127.0.0.1 and go there through ssh -L",
                    options.listen);
    return nullptr;
}

} // namespace

struct Server::Impl final : ConnectionOwner {
    Impl(EventLoop& event_loop, migration::Listener listener, bool is_v6, Tls context, Access rules, Source& shown,
         const Limits& bounds, bool token_made)
        : loop(event_loop)
        , listening(std::move(listener))
        , v6(is_v6)
        , tls(std::move(context))
        , answers(std::move(rules), shown)
        , limits(bounds)
        , tells_token(token_made)
        , acceptor(event_loop, listening.fd(), [this](FileDescriptor peer) { accepted(std::move(peer)); })
        , ticks(shown.on_tick([this] { tick(); })) {}

    void accepted(FileDescriptor peer) {
        if (connections.size() >= limits.connections && !make_room())
            return; // closes it
        try {
            if (host::refuses(host::Resource::watch))
                throw std::system_error(errno, std::generic_category());
            start_connection(loop, std::move(peer), v6, tls, self, limits);
        } catch (const std::exception& refused) { // the loop can watch no more descriptors
            static log::GuestLogLimit limit;
            if (limit.allow())
                log::warning("page: cannot serve a connection: {}", refused.what());
        }
    }

    /// Ends the oldest connection that has not shown the token: strangers cannot keep the operator out.
    bool make_room() {
        const auto stranger = std::ranges::find_if_not(connections, &Connection::is_known);
        if (stranger == connections.end())
            return false;
        (*stranger)->close();
        return true;
    }

    void tick() {
        CHECK(loop.owned_here());
        const auto now = Clock::now();
        if (watchers.empty() || (last_event && now - *last_event < limits.event_interval))
            return;
        last_event = now;
        const auto event = std::make_shared<const std::string>(answers.print_event());
        const auto all = watchers; // one that is offered may leave
        for (Connection* const watcher : all)
            if (watchers.contains(watcher))
                watcher->offer(event);
    }

    Desk& desk() override { return answers; }
    void added(Connection& connection) override { connections.push_back(&connection); }
    void removed(Connection& connection) override {
        std::erase(connections, &connection);
        watchers.erase(&connection);
    }
    bool watch(Connection& connection) override {
        if (watchers.size() >= limits.watchers)
            return false;
        watchers.insert(&connection);
        return true;
    }

    EventLoop& loop;
    migration::Listener listening;
    bool v6;
    Tls tls;
    Desk answers;
    Limits limits;
    bool tells_token;
    std::weak_ptr<ConnectionOwner> self;
    std::vector<Connection*> connections; ///< oldest first
    std::set<Connection*> watchers;
    std::optional<Clock::time_point> last_event;
    Acceptor acceptor;
    Source::Listener ticks;
};

Result<Server> Server::start(EventLoop& loop, const Options& options, Source& source) {
    const auto address = TRY(address_in(options.listen));
    Tls tls = TRY(tls_for(address, options));
    Token token = TRY(options.token_path.empty() ? Token::make() : Token::read(options.token_path));
    Access access{.token = std::move(token), .tls = tls != nullptr, .metrics_open = options.metrics_open};
    if (tls)
        access.certified = [tls](std::string_view name) { return is_for(*tls, name); };
    auto listening = TRY(migration::Listener::open(TRY(migration::Endpoint::parse("tcp:" + options.listen))));
    auto impl = std::make_shared<Impl>(loop, std::move(listening), address.is_v6(), std::move(tls), std::move(access),
                                       source, options.limits, options.token_path.empty());
    impl->self = impl;
    TRY(impl->acceptor.start());
    return Server(std::move(impl));
}

std::string Server::where() const {
    constexpr std::string_view scheme = "tcp:";
    return impl_->listening.where().substr(scheme.size());
}

std::string Server::url() const {
    const Access& access = impl_->answers.access();
    const std::string page = fmt::format("{}://{}/", access.tls ? "https" : "http", where());
    return impl_->tells_token ? page + "#token=" + access.token.text() : page;
}

Server::Server(std::shared_ptr<Impl> impl)
    : impl_(std::move(impl)) {}
Server::Server(Server&&) noexcept = default;
Server& Server::operator=(Server&&) noexcept = default;

Server::~Server() {
    if (!impl_)
        return;
    // Closing takes a connection out of the list.
    const auto open = impl_->connections;
    for (Connection* const connection : open)
        connection->close();
}

} // namespace aerate::web
