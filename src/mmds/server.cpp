#include "mmds/server.hpp"

#include "base/check.hpp"
#include "event/acceptor.hpp"
#include "mmds/session.hpp"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <functional>
#include <iterator>
#include <list>

namespace aerate::mmds {
namespace {

using Clock = std::chrono::steady_clock;

class Connection {
public:
    struct Owner {
        std::function<void(Connection&)> stirred; ///< it is not silent
        std::function<void(Connection&)> ended;   ///< destroys it
    };

    Connection(EventLoop& loop, FileDescriptor peer, const Source& source, const Limits& limits, const Owner& owner)
        : loop_(loop)
        , peer_(std::move(peer))
        , session_(source)
        , limits_(limits)
        , owner_(owner) {}
    /// Resets what is still open: the kernel is to keep nothing of a connection that nobody reads, and no guest is
    /// waited for.
    ~Connection() {
        const linger abort{.l_onoff = 1, .l_linger = 0};
        (void)::setsockopt(peer_.get(), SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    [[nodiscard]] Result<> start() {
        silence_ = loop_.after(limits_.silence, [this] { owner_.ended(*this); });
        ready_ = TRY(loop_.try_watch(peer_.get(), [this] { readable(); }));
        return {};
    }

private:
    /// REQUIRES: the last thing that the caller does, since it may destroy this.
    void readable() {
        std::array<char, Session::request_max> bytes;
        // After the last answer what comes is read all the same: an end is to be seen behind it.
        const std::size_t room = session_.over() ? bytes.size() : session_.room();
        const ssize_t got = ::recv(peer_.get(), bytes.data(), room, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got < 0)
            return owner_.ended(*this);
        if (got == 0)
            return finish();
        if (session_.over())
            return;
        stir();
        session_.receive({bytes.data(), static_cast<std::size_t>(got)}, Clock::now());
        write();
    }

    void write() {
        if (session_.output().empty())
            return wait(false);
        const std::string_view output = session_.output();
        const ssize_t put = ::send(peer_.get(), output.data(), output.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put < 0 && errno != EAGAIN && errno != EINTR)
            return owner_.ended(*this);
        if (put > 0) {
            stir();
            session_.sent(static_cast<std::size_t>(put), Clock::now());
        }
        if (!session_.output().empty()) // the rest of an answer, or the next one: in another turn
            return wait(true);
        if (session_.over())
            (void)::shutdown(peer_.get(), SHUT_WR); // and the guest ends it, or the time does
        wait(false);
    }

    void wait(bool for_room) {
        if (std::exchange(for_room_, for_room) == for_room)
            return;
        ready_.cancel(); // a descriptor has one watch
        ready_ = for_room ? loop_.watch_writable(peer_.get(), [this] { write(); })
                          : loop_.watch(peer_.get(), [this] { readable(); });
    }

    /// The guest says no more. What is still on its way to it gets some time: a socket that is closed at once is the
    /// kernel's to care for, for as long as the guest likes, and the host has room for so many of those.
    void finish() {
        (void)::shutdown(peer_.get(), SHUT_WR);
        ready_.cancel();
        silence_ = loop_.after(limits_.last_bytes, [this] { owner_.ended(*this); });
    }

    void stir() {
        silence_ = loop_.after(limits_.silence, [this] { owner_.ended(*this); });
        owner_.stirred(*this);
    }

    EventLoop& loop_;
    FileDescriptor peer_;
    Session session_;
    const Limits& limits_;
    const Owner& owner_;
    bool for_room_ = false;
    Subscription ready_;
    Subscription silence_;
};

} // namespace

struct Server::Impl {
    Impl(EventLoop& l, std::shared_ptr<const Store> s, Tokens t, const control::MmdsConfig& config,
         std::shared_ptr<Counters> c, const Limits& bounds)
        : loop(l)
        , store(std::move(s))
        , tokens(t)
        , counters(std::move(c))
        , source{.store = *store,
                 .tokens = tokens,
                 .version = config.version,
                 .imds_compat = config.imds_compat,
                 .counters = counters.get()}
        , limits(bounds) {}

    [[nodiscard]] Result<> listen(std::shared_ptr<const FileDescriptor> listener) {
        const int fd = listener->get();
        listeners.push_back(std::move(listener));
        acceptors.push_back(std::make_unique<Acceptor>(loop, fd, [this](FileDescriptor peer) {
            connections.emplace_back(loop, std::move(peer), source, limits, owner);
            ++counters->connections_begun;
            if (!connections.back().start())
                end(std::prev(connections.end()));
            else if (connections.size() > limits.connections)
                end(connections.begin());
        }));
        return acceptors.back()->start();
    }
    [[nodiscard]] std::list<Connection>::iterator find(const Connection& which) {
        return std::find_if(connections.begin(), connections.end(),
                            [&](const Connection& connection) { return &connection == &which; });
    }

    void end(std::list<Connection>::iterator which) {
        connections.erase(which);
        ++counters->connections_ended;
    }

    EventLoop& loop;
    std::shared_ptr<const Store> store;
    Tokens tokens;
    std::shared_ptr<Counters> counters;
    Source source;
    Limits limits;
    std::vector<std::shared_ptr<const FileDescriptor>> listeners;
    std::list<Connection> connections; ///< the one that has been silent for longest comes first
    Connection::Owner owner{
        .stirred = [this](Connection& one) { connections.splice(connections.end(), connections, find(one)); },
        .ended = [this](Connection& one) { end(find(one)); }};
    std::vector<std::unique_ptr<Acceptor>> acceptors;
};

Result<std::unique_ptr<Server>> Server::create(EventLoop& loop,
                                               const std::vector<std::shared_ptr<const FileDescriptor>>& listeners,
                                               std::shared_ptr<const Store> store, const control::MmdsConfig& config,
                                               std::shared_ptr<Counters> counters, const Limits& limits) {
    auto impl =
        std::make_unique<Impl>(loop, std::move(store), TRY(Tokens::create()), config, std::move(counters), limits);
    for (const auto& listener : listeners)
        TRY(impl->listen(listener));
    return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::Server(std::unique_ptr<Impl> impl)
    : impl_(std::move(impl)) {}
Server::~Server() = default;

std::size_t Server::connections() const {
    return impl_->connections.size();
}

} // namespace aerate::mmds
