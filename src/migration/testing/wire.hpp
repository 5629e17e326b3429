// Sockets for tests, one that records or harms what passes, and a migration between two fakes.
#pragma once

#include "base/testing/refusing_host.hpp"
#include "migration/destination.hpp"
#include "migration/source.hpp"
#include "migration/testing/fake_guest.hpp"

#include <netinet/in.h>
#include <poll.h>

#include <sys/socket.h>

#include <array>
#include <future>
#include <optional>
#include <utility>

namespace aerate::migration::testing {

using namespace std::chrono_literals;

using SocketPair = std::pair<FileDescriptor, FileDescriptor>;

inline SocketPair unix_pair() {
    std::array<int, 2> fds{};
    CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) == 0);
    return {FileDescriptor(fds[0]), FileDescriptor(fds[1])};
}

inline SocketPair tcp_pair() {
    const FileDescriptor listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    CHECK(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
    CHECK(::listen(listener.get(), 1) == 0);
    CHECK(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
    FileDescriptor client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    CHECK(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
    FileDescriptor server(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    CHECK(server.valid());
    return {std::move(client), std::move(server)};
}

/// What happens to one of the two directions once so many bytes have passed.
struct Fault {
    enum class Kind : std::uint8_t { none, cut, reset, stall, flip, garbage };
    Kind kind = Kind::none;
    bool to_source = false;
    std::uint64_t at = 0;
    std::uint8_t bit = 0;
};

/// Stands between the two sides.
class Proxy {
public:
    /// `rate`: bytes a second that it lets pass; 0: all that come.
    Proxy(FileDescriptor source, FileDescriptor destination, Fault fault, ByteCount rate = {})
        : fault_(fault)
        , rate_(rate)
        , ends_{std::move(source), std::move(destination)}
        , thread_([this](const std::stop_token& stop) { run(stop); }) {}

    /// By direction: to the destination, to the source. After both sides are done.
    [[nodiscard]] std::uint64_t passed(bool to_source) const { return passed_[to_source ? 1 : 0]; }
    [[nodiscard]] std::vector<std::byte> take_recorded() { return std::move(recorded_); }
    void join() {
        thread_.request_stop();
        thread_.join();
    }

private:
    void run(const std::stop_token& stop) {
        std::array<bool, 2> open{true, true};
        while (!stop.stop_requested() && (open[0] || open[1])) {
            std::array<pollfd, 2> fds{pollfd{open[0] ? ends_[0].get() : -1, POLLIN, 0},
                                      pollfd{open[1] ? ends_[1].get() : -1, POLLIN, 0}};
            ::poll(fds.data(), fds.size(), 5);
            for (const std::size_t from : {0U, 1U}) {
                if (fds[from].revents == 0)
                    continue;
                std::array<std::byte, 1U << 16> buffer;
                const ssize_t got = ::recv(ends_[from].get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
                if (got <= 0) {
                    open[from] = false;
                    (void)::shutdown(ends_[1 - from].get(), SHUT_WR);
                } else if (carry(got); !pass(from, std::span(buffer).first(static_cast<std::size_t>(got)))) {
                    return;
                }
            }
        }
    }
    void carry(ssize_t bytes) const {
        if (rate_.value > 0)
            std::this_thread::sleep_for(
                std::chrono::duration<double>(static_cast<double>(bytes) / static_cast<double>(rate_.value)));
    }
    /// Returns false when there is nothing more to do.
    bool pass(std::size_t from, std::span<std::byte> bytes) {
        const std::uint64_t before = passed_[from];
        const bool hit = fault_.kind != Fault::Kind::none && fault_.to_source == (from == 1) && before <= fault_.at &&
                         fault_.at < before + bytes.size();
        passed_[from] += bytes.size();
        const std::size_t sound = hit ? static_cast<std::size_t>(fault_.at - before) : bytes.size();
        if (!hit)
            return deliver(from, bytes);
        (void)deliver(from, bytes.first(sound));
        switch (fault_.kind) {
        case Fault::Kind::flip:
            bytes[sound] ^= static_cast<std::byte>(1U << (fault_.bit % 8));
            return deliver(from, bytes.subspan(sound));
        case Fault::Kind::garbage: {
            std::array<std::byte, 200> noise;
            noise.fill(std::byte{0x5a});
            (void)deliver(from, noise);
            ends_ = {};
            return false;
        }
        case Fault::Kind::reset:
            for (FileDescriptor& end : ends_) {
                const linger at_once{1, 0};
                (void)::setsockopt(end.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
            }
            [[fallthrough]];
        case Fault::Kind::cut:
            ends_ = {};
            return false;
        default: // stall: whoever waits finds out by itself
            return false;
        }
    }
    bool deliver(std::size_t from, std::span<const std::byte> bytes) {
        if (from == 0)
            recorded_.insert(recorded_.end(), bytes.begin(), bytes.end());
        while (!bytes.empty()) {
            const ssize_t sent = ::send(ends_[1 - from].get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (sent < 0 && errno == EAGAIN) {
                // A socket of connect_to() does not block: nothing may be left out because it is full.
                pollfd room{ends_[1 - from].get(), POLLOUT, 0};
                (void)::poll(&room, 1, -1);
                continue;
            }
            if (sent <= 0)
                return true; // the other side is gone: it will be seen when reading
            bytes = bytes.subspan(static_cast<std::size_t>(sent));
        }
        return true;
    }

    Fault fault_;
    ByteCount rate_;
    std::array<FileDescriptor, 2> ends_;
    std::array<std::uint64_t, 2> passed_{};
    std::vector<std::byte> recorded_;
    std::jthread thread_;
};

/// A Source that has been started, and what it told.
class RunningSource {
public:
    RunningSource(FileDescriptor socket, SourceGuest& guest, SourceOptions options,
                  std::function<void(const SourceProgress&)> progress = {}) {
        source_.emplace(guest, first_over(std::move(socket), std::move(options)),
                        Source::Callbacks{.progress = std::move(progress), .finished = [this](SourceResult result) {
                                              result_.set_value(std::move(result));
                                          }});
        if (const auto started = source_->start(); !started) {
            source_.reset(); // hangs up
            result_.set_value({.error = started.error().message, .last = {}});
        }
    }
    SourceResult wait() { return result_.get_future().get(); }
    /// REQUIRES: the host did not refuse its start.
    void cancel() { source_->cancel(); }

private:
    /// The control stream's socket is here already.
    static SourceOptions first_over(FileDescriptor socket, SourceOptions options) {
        options.connect = [first = std::make_shared<FileDescriptor>(std::move(socket)),
                           further = std::move(options.connect)](const EventFd& interrupt) -> Result<FileDescriptor> {
            return first->valid() ? std::move(*first) : further(interrupt);
        };
        return options;
    }

    std::promise<SourceResult> result_;
    std::optional<Source> source_;
};

/// Both sides of one migration.
struct Migration {
    SourceOptions source_options{};
    DestinationOptions destination_options{};
    std::function<void(const SourceProgress&)> progress{};
    std::uint64_t refuse = 0; ///< which request to the host; 0: none
    aerate::testing::RefusingHost::For refuse_for = aerate::testing::RefusingHost::For::once;
    bool refused = false;

    SourceResult source{};
    Result<DestinationReport> destination = fail("not started");

    void run(FakeSource& from, FakeDestination& to, SocketPair sockets) {
        std::optional<aerate::testing::RefusingHost> host;
        if (refuse > 0)
            host.emplace(refuse, refuse_for);
        Destination arriving(std::move(sockets.second), to, destination_options);
        RunningSource leaving(std::move(sockets.first), from, source_options, progress);
        destination = arriving.receive();
        source = leaving.wait();
        refused = host && host->refused();
    }
    /// Through a proxy. Returns how many bytes came by, to the destination and to the source.
    std::array<std::uint64_t, 2> run(FakeSource& from, FakeDestination& to, Fault fault, bool tcp = false) {
        auto left = tcp ? tcp_pair() : unix_pair();
        auto right = tcp ? tcp_pair() : unix_pair();
        Proxy proxy(std::move(left.second), std::move(right.first), fault);
        run(from, to, {std::move(left.first), std::move(right.second)});
        proxy.join();
        recorded = proxy.take_recorded();
        return {proxy.passed(false), proxy.passed(true)};
    }
    /// Over as many connections as the options say, one of them through a proxy. Returns what that let pass.
    std::array<std::uint64_t, 2> run_streams(FakeSource& from, FakeDestination& to, const Fault& fault = {},
                                             unsigned faulty_stream = 0) {
        auto listener = Listener::open(Endpoint::parse("tcp:127.0.0.1:0").value());
        CHECK(listener);
        const Endpoint there = Endpoint::parse(listener->where()).value();
        std::optional<Proxy> proxy;
        unsigned connections = 0;
        source_options.connect = [&](const EventFd&) -> Result<FileDescriptor> {
            auto direct = TRY(connect_to(there, 5s));
            if (connections++ != faulty_stream)
                return direct;
            auto pair = tcp_pair();
            proxy.emplace(std::move(pair.second), std::move(direct), fault);
            return std::move(pair.first);
        };
        destination_options.listener = &*listener;
        auto socket = source_options.connect(*EventFd::create());
        CHECK(socket);
        pollfd waits{listener->fd(), POLLIN, 0};
        CHECK(::poll(&waits, 1, 5000) == 1);
        auto accepted = listener->accept();
        CHECK(accepted);
        run(from, to, {*std::move(socket), *std::move(accepted)});
        if (!proxy)
            return {};
        proxy->join();
        return {proxy->passed(false), proxy->passed(true)};
    }
    std::vector<std::byte> recorded{};
};

} // namespace aerate::migration::testing
