#include "control/client.hpp"

#include "base/unix_socket.hpp"
#include "control/json.hpp"
#include "control/listening_socket.hpp"
#include "control/schema_json.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <poll.h>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>

namespace aerate::control {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
using Clock = std::chrono::steady_clock;

/// Returns false when the deadline has passed.
Result<bool> ready_until(int fd, short events, Clock::time_point deadline) {
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
        pollfd waited{fd, events, 0};
        constexpr std::chrono::milliseconds longest = std::chrono::hours(24); // poll() takes an int
        const int ready = ::poll(&waited, 1, static_cast<int>(std::clamp(left, {}, longest).count()));
        if (ready == 0 && left > longest)
            continue;
        if (ready >= 0)
            return ready > 0;
        if (errno != EINTR)
            return fail_errno("cannot wait for the VM");
    }
}

/// Sends the text. A server that refuses a request may stop reading it; its answer is there nevertheless, so a closed
/// pipe is no error.
Result<void> send_all(int fd, std::string_view text, Clock::time_point deadline) {
    while (!text.empty()) {
        const ssize_t sent = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
        if (sent >= 0)
            text.remove_prefix(static_cast<std::size_t>(sent));
        else if (errno == EPIPE || errno == ECONNRESET)
            return {};
        else if (errno != EINTR && errno != EAGAIN)
            return fail_errno("cannot send to the VM");
        else if (!TRY(ready_until(fd, POLLOUT, deadline)))
            return fail("the VM did not answer in time");
    }
    return {};
}

/// Called when the deadline has passed: gives a later one, or says why there is none.
using Prolong = std::function<Result<Clock::time_point>()>;

Result<std::size_t> receive(int fd, std::span<char> into, Clock::time_point& deadline, const Prolong& prolong) {
    for (;;) {
        const ssize_t got = ::recv(fd, into.data(), into.size(), 0);
        if (got >= 0)
            return static_cast<std::size_t>(got);
        if (errno != EINTR && errno != EAGAIN)
            return fail_errno("cannot receive from the VM");
        if (!TRY(ready_until(fd, POLLIN, deadline)))
            deadline = TRY(prolong());
    }
}

Result<Client::Answer> receive_answer(int fd, Clock::time_point deadline, const Prolong& prolong) {
    constexpr std::uint64_t longest_body = 16 << 20;
    http::response_parser<http::string_body> parser;
    parser.eager(true);
    parser.body_limit(longest_body);
    std::string pending;
    std::array<char, 16384> chunk;
    while (!parser.is_done()) {
        const std::size_t got = TRY(receive(fd, chunk, deadline, prolong));
        boost::system::error_code error;
        if (got == 0) {
            // The parser takes no data at all for a successful answer.
            if (parser.got_some())
                parser.put_eof(error);
            if (error || !parser.is_done())
                return fail("the VM closed the connection without an answer");
            break;
        }
        pending.append(chunk.data(), got);
        while (!pending.empty() && !parser.is_done()) {
            const std::size_t used = parser.put(boost::asio::buffer(pending), error);
            pending.erase(0, used);
            if (error == http::error::need_more)
                break;
            if (error)
                return fail("the VM's answer is not HTTP: {}", error.message());
        }
    }
    return Client::Answer{parser.get().result_int(), std::move(parser.get().body())};
}

std::string fault_message(const Client::Answer& answer) {
    if (const auto json = parse_json(answer.body)) {
        std::string message;
        Fields fields(*json, "");
        fields.string("fault_message", message);
        if (!message.empty())
            return message;
    }
    return fmt::format("the VM answered with HTTP status {}", answer.status);
}

} // namespace

Result<Client::Answer> Client::exchange(std::string_view method, std::string_view target, std::string_view body) const {
    const auto deadline = Clock::now() + deadline_;
    const FileDescriptor fd = TRY(connect_trusted_unix(socket_));
    std::string request = fmt::format("{} {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", method, target);
    if (!body.empty())
        request += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", body.size());
    request += "\r\n";
    request += body;
    TRY(send_all(fd.get(), request, deadline));
    return receive_answer(fd.get(), deadline, [&]() -> Result<Clock::time_point> {
        if (method == "GET")
            return fail("the VM did not answer in time");
        // Keep waiting: the request is under way, and giving up would not stop it. Each operation of the VM ends by
        // itself.
        if (!Client(socket_, deadline_).exchange("GET", "/"))
            return fail("the VM did not answer in time, and no longer answers anything; it may still do what it was "
                        "asked");
        return Clock::now() + deadline_;
    });
}

Result<std::string> Client::call(std::string_view method, std::string_view target, std::string_view body) const {
    Answer answer = TRY(exchange(method, target, body));
    if (answer.status < 200 || answer.status > 299)
        return std::unexpected(Error{fault_message(answer), 0});
    return std::move(answer.body);
}

template <typename T>
Result<typename T::Answer> Client::send(const T& request) const {
    std::string body;
    if constexpr (Described<T>)
        body = print_json(TRY(print_object(request)));
    const std::string answer = TRY(call(T::endpoint.method, T::endpoint.path, body));
    if constexpr (std::is_same_v<typename T::Answer, Done>)
        return Done{};
    else
        return read_object<typename T::Answer>(TRY(parse_json(answer)), Unknown::ignored);
}

template Result<Done> Client::send(const SetPaused&) const;
template Result<Done> Client::send(const PatchBalloon&) const;
template Result<Done> Client::send(const StartHinting&) const;
template Result<Done> Client::send(const StopHinting&) const;
template Result<HintingStatus> Client::send(const GetHintingStatus&) const;
template Result<SweepStatus> Client::send(const Sweep&) const;
template Result<SqueezeStatus> Client::send(const Squeeze&) const;
template Result<SnapshotStatus> Client::send(const TakeSnapshot&) const;
template Result<MigrationStatus> Client::send(const Migrate&) const;
template Result<MigrationStatus> Client::send(const GetMigration&) const;
template Result<Done> Client::send(const CancelMigration&) const;
template Result<VmStatus> Client::send(const GetStatus&) const;
template Result<Done> Client::send(const Stop&) const;

} // namespace aerate::control
