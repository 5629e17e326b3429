#include "etcd/gateway.hpp"

#include "base/regular_file.hpp"
#include "etcd/claim.hpp"

#include <algorithm>
#include <array>
#include <thread>
#include <vector>

namespace aerate::etcd {

struct Gateway::Failure {
    Error error;
    bool refused = false; ///< by a member that understood the question: asked again, it says the same
};

namespace {

using Clock = migration::SocketChannel::Clock;

std::chrono::milliseconds until_then(Clock::time_point then) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(then - Clock::now());
    return std::max(left, std::chrono::milliseconds(0));
}

/// Returns whether etcd says that it does not know our token, or that users have changed since it was given.
bool wants_login(const HttpAnswer& answer) {
    return answer.status == 401 || answer.status == 400;
}

} // namespace

Result<std::unique_ptr<Gateway>> Gateway::open(const Address& address, TimeLimits limits) {
    std::unique_ptr<Gateway> gateway(new Gateway(address, limits, TRY(EventFd::create())));
    TRY(gateway->load());
    return gateway;
}

Result<> Gateway::load() {
    if (!address_.ca_path.empty())
        tls_ = TRY(migration::Tls::load({.certificate_path = address_.certificate_path,
                                         .key_path = address_.key_path,
                                         .ca_path = address_.ca_path,
                                         .only_connects = true}));
    const std::string& path = address_.login_path;
    if (path.empty())
        return {};
    constexpr std::size_t longest = 1024;
    const auto file = TRY(open_regular(path, Link::follow));
    if (auto secret = check_secrecy(path, file.owner, file.mode); !secret)
        return fail_because(std::move(secret).error(), "cannot use the login {}", path);
    std::string text = TRY(read_text_file(path, longest));
    if (text.ends_with('\n'))
        text.pop_back();
    const auto colon = text.find(':');
    const bool control = std::ranges::any_of(text, [](unsigned char letter) { return letter < ' '; });
    if (colon == 0 || colon == text.npos || control)
        return fail("cannot use the login {}: it must be one line, USER:PASSWORD", path);
    user_ = text.substr(0, colon);
    password_ = text.substr(colon + 1);
    return {};
}

Result<> Gateway::ask(std::string_view path, const std::string& body, const Take& take) {
    const auto until = Clock::now() + limits_.overall;
    std::vector<std::string> reasons(address_.members.size());
    const auto why = [&] {
        std::string text;
        for (std::size_t i = 0; i < reasons.size(); ++i)
            text += fmt::format("{}{}: {}", i == 0 ? "" : "; ", host_and_port(address_.members[i]),
                                reasons[i].empty() ? "not asked" : reasons[i]);
        return text;
    };
    for (bool hope = true; hope; std::this_thread::sleep_for(std::min(limits_.pause, until_then(until)))) {
        hope = false;
        for (std::size_t i = 0; i < reasons.size(); ++i) {
            const std::size_t number = (first_ + i) % reasons.size();
            auto answered = ask_member(address_.members[number], path, body, take, until);
            if (answered) {
                first_ = number;
                return {};
            }
            const bool over = Clock::now() >= until;
            if (!over || reasons[number].empty()) // one that had no time says nothing of the member
                reasons[number] = std::move(answered.error().error.message);
            if (over)
                return fail("etcd did not answer within {} ms: {}", limits_.overall.count(), why());
            hope = hope || !answered.error().refused;
        }
    }
    return fail("etcd refuses: {}", why());
}

std::expected<void, Gateway::Failure> Gateway::ask_member(const migration::Endpoint& member, std::string_view path,
                                                          const std::string& body, const Take& take,
                                                          Clock::time_point until) {
    const auto within = [until](std::chrono::milliseconds limit) { return std::min(until, Clock::now() + limit); };
    const bool had_token = !token_.empty();
    if (!user_.empty() && !had_token)
        if (auto in = log_in(member, within(limits_.login)); !in)
            return in;
    auto answer = exchange(member, path, body, within(limits_.member));
    if (answer && had_token && wants_login(*answer)) {
        if (auto in = log_in(member, within(limits_.login)); !in)
            return in;
        answer = exchange(member, path, body, within(limits_.member));
    }
    if (!answer)
        return std::unexpected(Failure{std::move(answer).error()});
    if (answer->status != 200) {
        const std::string text = parse_refusal(answer->body);
        return std::unexpected(
            Failure{{fmt::format("HTTP status {}{}{}", answer->status, text.empty() ? "" : ", ", text), 0},
                    answer->status >= 400 && answer->status < 500});
    }
    if (auto taken = take(answer->body); !taken)
        return std::unexpected(Failure{std::move(taken).error(), true});
    return {};
}

std::expected<void, Gateway::Failure> Gateway::log_in(const migration::Endpoint& member, Clock::time_point until) {
    token_.clear();
    auto answer = exchange(member, "/v3/auth/authenticate", login(user_, password_), until);
    if (!answer)
        return std::unexpected(Failure{std::move(answer).error()});
    if (answer->status != 200)
        return std::unexpected(
            Failure{{fmt::format("it does not let {} in: {}", address_.login_path, parse_refusal(answer->body)), 0},
                    answer->status >= 400 && answer->status < 500});
    auto token = parse_token(answer->body);
    if (!token)
        return std::unexpected(Failure{std::move(token).error()});
    token_ = *std::move(token);
    return {};
}

Result<HttpAnswer> Gateway::exchange(const migration::Endpoint& member, std::string_view path, const std::string& body,
                                     Clock::time_point until) const {
    auto socket = TRY(migration::connect_to(member, until_then(until)));
    const auto connection =
        migration::connect_channel(std::move(socket), never_, tls_.get(), migration::TlsSide::client);
    TRY(connection->open(until_then(until)));
    const std::string request = http_request(host_and_port(member), path, token_, body);
    TRY(connection->send(std::as_bytes(std::span(request)), until_then(until)));
    HttpReader reader;
    std::array<std::byte, 4096> chunk{};
    while (!reader.done()) {
        const std::size_t got = TRY(connection->receive_some(chunk, until_then(until)));
        TRY(reader.take(std::span(chunk).first(got)));
    }
    return reader.answer();
}

} // namespace aerate::etcd
