// The host's side of the multiplexer: who calls the guest, whom the guest calls, and their sockets.
#include "base/log.hpp"
#include "vsock/multiplexer.hpp"
#include "vsock/renewal.hpp"

#include <unistd.h>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace aerate::vsock {
namespace {

constexpr std::uint64_t listener_id = 0;
constexpr std::uint32_t stream_events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
constexpr unsigned accepts_a_turn = 16;
/// A full backlog is told to nobody when it has room again.
constexpr std::chrono::milliseconds ask_backlog_again{10};
constexpr std::chrono::milliseconds ask_descriptors_again{100};

} // namespace

Result<std::unique_ptr<Multiplexer>> Multiplexer::create(EventLoop& loop, std::shared_ptr<const UnixListener> listener,
                                                         const Options& options, std::function<void()> packets_due) {
    auto readiness = TRY(Readiness::create());
    TRY(readiness.add(listener->fd(), listener_id, 0));
    std::unique_ptr<Multiplexer> made(
        new Multiplexer(loop, std::move(listener), options, std::move(readiness), std::move(packets_due)));
    made->events_ = TRY(loop.try_watch(made->readiness_.fd(), [raw = made.get()] { raw->host_events(); }));
    made->listen(true);
    return made;
}

Multiplexer::Multiplexer(EventLoop& loop, std::shared_ptr<const UnixListener> listener, const Options& options,
                         Readiness readiness, std::function<void()> packets_due)
    : loop_(loop)
    , listener_(std::move(listener))
    , options_(options)
    , readiness_(std::move(readiness))
    , packets_due_(std::move(packets_due)) {}

void Multiplexer::watch_host() {
    events_ = loop_.watch(readiness_.fd(), [this] { host_events(); });
}

void Multiplexer::pause() {
    paused_ = true;
    events_.cancel();
    retry_listen_.cancel();
    retry_calls_.cancel();
    for (auto& [number, entry] : entries_)
        entry.timer.cancel();
    for (auto& [id, call] : calls_)
        call.timer.cancel();
    for (auto& [id, lingering] : lingering_)
        lingering.timer.cancel();
}

void Multiplexer::resume() {
    if (!std::exchange(paused_, false))
        return;
    watch_host();
    listen(calls_.size() < options_.max_calls);
    call_host_again();
    const auto now = Clock::now();
    for (auto& [number, entry] : entries_) {
        entry.connection.restart_deadline(now);
        arm(entry);
    }
    for (auto& [id, call] : calls_)
        call.timer = loop_.after(options_.call_patience, [this, stream = id] { drop_call(stream); });
    for (auto& [id, lingering] : lingering_)
        lingering.timer = loop_.after(options_.linger, [this, stream = id] { lingering_.erase(stream); });
}

void Multiplexer::host_events() {
    readiness_.take([this](StreamId id, std::uint32_t events) {
        if (id == listener_id)
            return accept_calls();
        if (const auto entry = by_stream_.find(id); entry != by_stream_.end())
            return stream_event(*entry->second, events);
        if (calls_.contains(id))
            return read_command(id);
        linger_event(id, events);
    });
    packets_due_();
}

void Multiplexer::stream_event(Entry& entry, std::uint32_t events) {
    HostStream& stream = *entry.stream;
    stream.happened(events);
    if (stream.writable() && stream.pending() > 0) {
        Connection& connection = entry.connection;
        const auto taken = stream.flush();
        // "OK 1073741824\n" is no byte of the guest's.
        const auto of_guest = [&](std::size_t bytes) {
            return static_cast<std::uint32_t>(std::min<std::size_t>(bytes, connection.buffered()));
        };
        connection.forwarded(taken ? of_guest(*taken) : connection.buffered());
        if (!taken) {
            ++counters_.tx_write_fails;
            connection.host_receives_no_more();
        }
    }
    settle(entry);
}

// --- The host calls ------------------------------------------------------------------------------------------------

void Multiplexer::listen(bool wanted) {
    listening_ = wanted;
    readiness_.change(listener_->fd(), listener_id, wanted ? std::uint32_t{EPOLLIN} : 0);
}

void Multiplexer::listen_later() {
    listen(false);
    retry_listen_ = loop_.after(ask_descriptors_again, [this] { listen(true); });
}

void Multiplexer::accept_calls() {
    for (unsigned turn = 0; turn < accepts_a_turn && listening_; ++turn) {
        FileDescriptor socket = host::descriptor(
            [this] { return ::accept4(listener_->fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK); });
        if (socket.valid()) {
            add_call(std::move(socket));
        } else {
            // Out of descriptors: the socket stays readable, so it is looked at again later rather than at once.
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                listen_later();
            return;
        }
    }
}

void Multiplexer::add_call(FileDescriptor socket) {
    const StreamId id = ++last_id_;
    if (!driver_ || full() || !readiness_.add(socket.get(), id, stream_events)) {
        ++counters_.refused;
        return;
    }
    calls_.try_emplace(id, Call{.socket = std::move(socket),
                                .command = {},
                                .timer = loop_.after(options_.call_patience, [this, id] { drop_call(id); })});
    // The others wait in the kernel's backlog.
    if (calls_.size() >= options_.max_calls)
        listen(false);
    read_command(id);
}

void Multiplexer::drop_call(StreamId id) {
    ++counters_.refused;
    calls_.erase(id);
    if (!listening_ && !retry_listen_.active() && !paused_)
        listen(true);
}

void Multiplexer::read_command(StreamId id) {
    Call& call = calls_.find(id)->second;
    while (call.command.state() == ConnectCommand::State::incomplete) {
        std::array<char, ConnectCommand::longest> bytes{};
        // What comes after the command stays in the socket, and is the guest's.
        const ssize_t seen = ::recv(call.socket.get(), bytes.data(), call.command.room(), MSG_PEEK | MSG_DONTWAIT);
        if (seen < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (seen <= 0)
            return drop_call(id);
        const std::size_t taken = call.command.add({bytes.data(), static_cast<std::size_t>(seen)});
        (void)!::recv(call.socket.get(), bytes.data(), taken, MSG_DONTWAIT);
    }
    if (call.command.state() == ConnectCommand::State::malformed || full())
        return drop_call(id);
    const std::uint32_t port = call.command.port();
    FileDescriptor socket = std::move(call.socket);
    calls_.erase(id);
    if (!listening_ && !retry_listen_.active())
        listen(true);
    host_calls(std::move(socket), id, port);
}

void Multiplexer::host_calls(FileDescriptor socket, StreamId id, std::uint32_t guest_port) {
    Entry& entry = add({.host = next_host_port(guest_port), .guest = guest_port}, Connection(Clock::now()));
    entry.stream.emplace(std::move(socket));
    entry.id = id;
    by_stream_.emplace(id, &entry);
    settle(entry);
}

/// Round robin, so that a port which the guest may still know is not used again soon, also by a restored guest's host.
std::uint32_t Multiplexer::next_host_port(std::uint32_t guest_port) {
    do
        last_port_ = ((last_port_ + 1) & ~(1U << 31)) | first_host_port;
    while (find({.host = last_port_, .guest = guest_port}) != nullptr);
    return last_port_;
}

// --- The guest calls -----------------------------------------------------------------------------------------------

/// Returns a socket at whose other end is who listens for that port, or else what we say ourselves.
Result<FileDescriptor> Multiplexer::answer_for_host(const Ports& ports, StreamId id) {
    auto socket = connect_trusted_unix(fmt::format("{}_{}", listener_->path(), ports.host));
    const bool nobody =
        !socket && (socket.error().system_error == ENOENT || socket.error().system_error == ECONNREFUSED);
    if (!nobody || ports.host != renewal_port || renewals_.size() >= renewals_max)
        return socket;
    auto renewal = TRY(make_renewal());
    renewals_.emplace(id, std::move(renewal.other));
    return std::move(renewal.stream);
}

void Multiplexer::call_host(Entry& entry) {
    const StreamId id = ++last_id_;
    auto socket = answer_for_host(entry.ports, id);
    if (!socket && socket.error().system_error == EAGAIN) {
        unanswered_.push_back(key(entry.ports));
        if (!retry_calls_.active())
            retry_calls_ = loop_.after(ask_backlog_again, [this] { call_host_again(); });
        return;
    }
    if (socket)
        if (auto watched = readiness_.add(socket->get(), id, stream_events); !watched)
            socket = std::unexpected(std::move(watched).error());
    if (!socket) {
        // That nobody listens there is the guest's to know; the rest is the operator's.
        static log::GuestLogLimit limit;
        const int code = socket.error().system_error;
        if (code != ENOENT && code != ECONNREFUSED && limit.allow())
            log::warning("the guest's call of port {} is refused: {}", entry.ports.host, socket.error().message);
        ++counters_.refused;
        renewals_.erase(id);
        return entry.connection.kill();
    }
    entry.stream.emplace(*std::move(socket));
    entry.id = id;
    by_stream_.emplace(id, &entry);
    entry.connection.host_answered();
}

void Multiplexer::call_host_again() {
    retry_calls_.cancel();
    for (const std::uint64_t number : std::exchange(unanswered_, {})) {
        const auto found = entries_.find(number);
        if (found == entries_.end() || found->second.connection.phase() != Connection::Phase::answering)
            continue;
        call_host(found->second);
        settle(found->second);
    }
    packets_due_();
}

// --- What a slow host has still to read ----------------------------------------------------------------------------

void Multiplexer::linger(HostStream stream, StreamId id) {
    lingering_.try_emplace(id, Lingering{.stream = std::move(stream),
                                         .timer = loop_.after(options_.linger, [this, id] { lingering_.erase(id); })});
}

void Multiplexer::linger_event(StreamId id, std::uint32_t events) {
    const auto found = lingering_.find(id);
    if (found == lingering_.end())
        return;
    HostStream& stream = found->second.stream;
    stream.happened(events);
    if (stream.writable() && (!stream.flush() || stream.pending() == 0))
        lingering_.erase(found);
}

} // namespace aerate::vsock
