#include "control/network_interface.hpp"

#include <sys/random.h>

#include <algorithm>
#include <charconv>

namespace aerate::control {
namespace {

constexpr std::string_view letters_and_digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

bool made_of(std::string_view text, std::string_view more) {
    return std::ranges::all_of(text, [more](char c) { return letters_and_digits.contains(c) || more.contains(c); });
}

template <typename T>
std::optional<T> number(std::string_view text, int base = 10) {
    T value{};
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (failed != std::errc() || end != text.data() + text.size())
        return std::nullopt;
    return value;
}

std::optional<MacBytes> parse_mac(std::string_view text) {
    MacBytes bytes{};
    if (text.size() != 3 * bytes.size() - 1)
        return std::nullopt;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const auto byte = number<std::uint8_t>(text.substr(3 * i, 2), 16);
        if (!byte || (i > 0 && text[3 * i - 1] != ':'))
            return std::nullopt;
        bytes[i] = *byte;
    }
    return bytes;
}

/// What it is connected to, in words for a message.
Result<void> check_connection(std::string_view where, const std::string& tap, bool user, bool fd) {
    const int ways = (tap.empty() ? 0 : 1) + (user ? 1 : 0) + (fd ? 1 : 0);
    if (ways == 0)
        return fail("{}.host_dev_name: is missing: name a tap, or give \"user\": {{}} for networking without one",
                    where);
    if (ways > 1)
        return fail("{}: host_dev_name, user and fd exclude each other: it is connected to one of them", where);
    return {};
}

} // namespace

std::string_view check_iface_id(std::string_view id) {
    constexpr std::size_t longest = 64;
    return !id.empty() && id.size() <= longest && made_of(id, "_-") ? ""
                                                                    : "must be 1 to 64 letters, digits, '_' or '-'";
}

std::string_view check_mac(std::string_view text) {
    const auto mac = parse_mac(text);
    if (!mac)
        return "must be six bytes in hexadecimal, as 02:00:00:00:00:01";
    constexpr unsigned multicast = 1;
    return ((*mac)[0] & multicast) != 0 ? "must not be a multicast address: its first byte must be even" : "";
}

std::string_view check_forward(std::string_view text) {
    return parse_forward(text) ? "" : "must be HOST:GUEST or udp:HOST:GUEST, ports from 1 to 65535";
}

std::optional<Forward> parse_forward(std::string_view text) {
    Forward forward;
    for (const std::string_view protocol : {"tcp:", "udp:"})
        if (text.starts_with(protocol)) {
            forward.udp = protocol == "udp:";
            text.remove_prefix(protocol.size());
        }
    const auto colon = text.find(':');
    if (colon == text.npos)
        return std::nullopt;
    const auto host = number<std::uint16_t>(text.substr(0, colon));
    const auto guest = number<std::uint16_t>(text.substr(colon + 1));
    if (!host || !guest || *host == 0 || *guest == 0)
        return std::nullopt;
    forward.host = *host;
    forward.guest = *guest;
    return forward;
}

Result<void> UserNetworkConfig::check(UserNetworkConfig& config) {
    constexpr std::size_t most = 64;
    if (config.forward.size() > most)
        return fail("user.forward: there are at most {}", most);
    for (const std::string& forward : config.forward)
        if (const auto wrong = check_forward(forward); !wrong.empty())
            return fail("user.forward: {}", wrong);
    return {};
}

Result<void> NetworkInterface::check(NetworkInterface& interface) {
    TRY(check_connection("network-interface", interface.host_dev_name, interface.user.has_value(),
                         interface.fd.has_value()));
    if (!interface.fd && !interface.more_fds.empty())
        return fail("network-interface.more_fds: are further queues of fd, which is missing");
    if (interface.user && interface.pairs() > 1)
        return fail("network-interface.queues: user networking has one");
    if (interface.more_fds.size() >= queue_pairs_max)
        return fail("network-interface.more_fds: a card has at most {} queues", queue_pairs_max);
    if (interface.queues.value_or(interface.pairs()) != interface.pairs())
        return fail("network-interface.queues: is {}, and there are {} descriptors: each is one queue",
                    *interface.queues, interface.pairs());
    return {};
}

Result<void> NetworkGrant::check(NetworkGrant& grant) {
    return check_connection("network_overrides", grant.host_dev_name, grant.user.has_value(), grant.fd.has_value());
}

Result<NetworkInterface> parse_net_flag(std::string_view text) {
    NetworkInterface interface;
    const auto refuse = [text](std::string_view name, std::string_view wrong) -> std::unexpected<Error> {
        return fail("--net {}: {}{}{}", text, name, name.empty() ? "" : ": ", wrong);
    };
    for (std::string_view rest = text; !rest.empty();) {
        const auto comma = rest.find(',');
        const std::string_view item = rest.substr(0, comma);
        rest = comma == rest.npos ? std::string_view() : rest.substr(comma + 1);
        const auto equals = item.find('=');
        const std::string_view name = item.substr(0, equals);
        const std::string_view value = equals == item.npos ? std::string_view() : item.substr(equals + 1);
        const bool bare = equals == item.npos;
        std::string_view wrong;
        if (name == "user" && bare) {
            interface.user.emplace(interface.user.value_or(UserNetworkConfig{}));
        } else if (name == "drop_spoofed" && bare) {
            interface.drop_spoofed_mac = true;
        } else if (name == "tap") {
            interface.host_dev_name = value;
            wrong = check_tap_name(value);
        } else if (name == "fd") {
            const auto fd = number<std::uint32_t>(value);
            if (!fd || *fd <= 2 || *fd >= (1U << 20))
                wrong = "must be a descriptor that this program was started with, from 3 on";
            else if (!interface.fd)
                interface.fd = fd;
            else
                interface.more_fds.push_back(*fd);
        } else if (name == "queues") {
            interface.queues = number<unsigned>(value);
            wrong = interface.queues && *interface.queues >= 1 && *interface.queues <= queue_pairs_max
                        ? ""
                        : "must be from 1 to 32";
        } else if (name == "mac") {
            interface.guest_mac = value;
            wrong = check_mac(value);
        } else if (name == "mtu") {
            interface.mtu = number<std::uint16_t>(value);
            wrong = interface.mtu && *interface.mtu >= mtu_min ? "" : "must be from 68 to 65535";
        } else if (name == "forward" && interface.user) {
            interface.user->forward.emplace_back(value);
            wrong = check_forward(value);
        } else {
            return refuse("", "must be tap=NAME[,queues=N], fd=N[,fd=M]... or user[,forward=[udp:]HOST:GUEST]..., and "
                              "then maybe mac=MAC, mtu=BYTES, drop_spoofed");
        }
        if (!wrong.empty())
            return refuse(name, wrong);
    }
    if (!check_connection("", interface.host_dev_name, interface.user.has_value(), interface.fd.has_value()))
        return refuse("", "must have one of tap=NAME, fd=N, user");
    if (auto checked = NetworkInterface::check(interface); !checked)
        return refuse("", checked.error().message);
    if (interface.user)
        TRY(UserNetworkConfig::check(*interface.user));
    return interface;
}

Result<NetworkGrant> parse_net_grant(std::string_view text) {
    const auto equals = text.find('=');
    if (equals == text.npos || !check_iface_id(text.substr(0, equals)).empty())
        return fail("--net {}: must be ID=tap=NAME, ID=fd=N or ID=user[,forward=HOST:GUEST]..., and then maybe mac=MAC",
                    text);
    auto interface = TRY(parse_net_flag(text.substr(equals + 1)));
    if (interface.mtu || interface.drop_spoofed_mac || interface.queues)
        return fail("--net {}: mtu, queues and drop_spoofed are as they were saved", text);
    return NetworkGrant{.iface_id = std::string(text.substr(0, equals)),
                        .host_dev_name = std::move(interface.host_dev_name),
                        .user = std::move(interface.user),
                        .fd = interface.fd,
                        .more_fds = std::move(interface.more_fds),
                        .guest_mac = std::move(interface.guest_mac)};
}

MacBytes mac_bytes(std::string_view text) {
    return parse_mac(text).value_or(MacBytes{});
}

std::string random_mac() {
    MacBytes mac{};
    while (::getrandom(mac.data(), mac.size(), 0) != static_cast<ssize_t>(mac.size())) {
    }
    constexpr unsigned local = 2;
    mac[0] = static_cast<std::uint8_t>((mac[0] & ~3U) | local);
    return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

} // namespace aerate::control
