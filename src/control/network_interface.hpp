// A network card of a VM and what it is connected to. The JSON is Firecracker's; "user", "fd", "more_fds", "queues" and
// "drop_spoofed_mac" are our own.
#pragma once

#include "base/error.hpp"
#include "control/machine_config.hpp"
#include "control/rate_limiter_config.hpp"
#include "control/schema.hpp"
#include "net/tap_name.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace aerate::control {

/// Returns what is wrong with an interface's ID, a MAC address, a tap's name, a forwarded port, or nothing.
[[nodiscard]] std::string_view check_iface_id(std::string_view);
[[nodiscard]] std::string_view check_mac(std::string_view);
using net::check_tap_name;
[[nodiscard]] std::string_view check_forward(std::string_view);

/// Where a port of this host's loopback address leads to: "2222:22", "udp:5353:53".
struct Forward {
    bool udp = false;
    std::uint16_t host{};
    std::uint16_t guest{};
    bool operator==(const Forward&) const = default;
};
[[nodiscard]] std::optional<Forward> parse_forward(std::string_view);

/// Networking by a program of its own, without privileges: passt.
struct UserNetworkConfig {
    std::vector<std::string> forward{};
    static constexpr std::string_view object = "user";
    static void describe(auto& fields, auto& self) { fields("forward", self.forward, unless_default); }
    [[nodiscard]] static Result<void> check(UserNetworkConfig&);
    bool operator==(const UserNetworkConfig&) const = default;
};

inline constexpr std::uint64_t mtu_min = 68; // virtio 1.2, 5.1.4.1
inline constexpr std::uint64_t mtu_max = 65535;
inline constexpr unsigned queue_pairs_max = vcpu_count_max;

struct NetworkInterface {
    std::string iface_id{};
    std::string host_dev_name{}; ///< a tap; or else one of the next two
    std::optional<UserNetworkConfig> user{};
    std::optional<std::uint32_t> fd{}; ///< that this process was started with: a tap, or a socket that carries frames
    std::vector<std::uint32_t> more_fds{}; ///< further queues of the tap that `fd` is one of
    std::optional<unsigned> queues{};      ///< see pairs()
    std::string guest_mac{};               ///< empty: one is chosen
    std::optional<std::uint16_t> mtu{};
    bool drop_spoofed_mac = false;
    std::optional<RateLimiterConfig> rx_rate_limiter{};
    std::optional<RateLimiterConfig> tx_rate_limiter{};
    static constexpr std::string_view object = "network-interface";
    static void describe(auto& fields, auto& self) {
        fields("iface_id", self.iface_id, mandatory.with(check_iface_id));
        fields("host_dev_name", self.host_dev_name, unless_default.with(check_tap_name));
        fields("user", self.user);
        fields("fd", self.fd);
        fields("more_fds", self.more_fds, unless_default);
        fields("queues", self.queues, between(1, queue_pairs_max));
        fields("guest_mac", self.guest_mac, unless_default.with(check_mac));
        fields("mtu", self.mtu, between(mtu_min, mtu_max));
        fields("drop_spoofed_mac", self.drop_spoofed_mac, unless_default);
        fields("rx_rate_limiter", self.rx_rate_limiter);
        fields("tx_rate_limiter", self.tx_rate_limiter);
    }
    /// Returns how many pairs of queues it has; one for each vCPU at the most.
    [[nodiscard]] unsigned pairs() const {
        return fd ? static_cast<unsigned>(1 + more_fds.size()) : queues.value_or(1);
    }
    /// One thing that it is connected to, with as many queues as descriptors were named.
    [[nodiscard]] static Result<void> check(NetworkInterface&);
    bool operator==(const NetworkInterface&) const = default;
};

/// What a PATCH changes, also while the guest runs; what is absent stays.
struct NetworkInterfaceUpdate {
    std::string iface_id{};
    std::optional<RateLimiterConfig> rx_rate_limiter{};
    std::optional<RateLimiterConfig> tx_rate_limiter{};
    static constexpr std::string_view object = "network-interface";
    static void describe(auto& fields, auto& self) {
        fields("iface_id", self.iface_id, mandatory.with(check_iface_id));
        fields("rx_rate_limiter", self.rx_rate_limiter);
        fields("tx_rate_limiter", self.tx_rate_limiter);
    }
};

/// What an interface of a guest from outside is connected to here: the operator's word.
struct NetworkGrant {
    std::string iface_id{};
    std::string host_dev_name{};
    std::optional<UserNetworkConfig> user{};
    std::optional<std::uint32_t> fd{}; ///< only from a command line, as the next
    std::vector<std::uint32_t> more_fds{};
    std::string guest_mac{}; ///< empty: the one that the guest has
    static constexpr std::string_view object = "network_overrides";
    static void describe(auto& fields, auto& self) {
        fields("iface_id", self.iface_id, mandatory.with(check_iface_id));
        fields("host_dev_name", self.host_dev_name, unless_default.with(check_tap_name));
        fields("user", self.user);
        fields("guest_mac", self.guest_mac, unless_default.with(check_mac));
    }
    [[nodiscard]] static Result<void> check(NetworkGrant&);
    bool operator==(const NetworkGrant&) const = default;
};

/// Parses what --net says: "tap=NAME[,queues=N]", "fd=N[,fd=M]..." or "user[,forward=HOST:GUEST]...", then ",mac=..",
/// ",mtu=..", ",drop_spoofed". The ID is the caller's to give.
[[nodiscard]] Result<NetworkInterface> parse_net_flag(std::string_view);
/// Parses "ID=" and then the same, without queues and MTU: the guest has them.
[[nodiscard]] Result<NetworkGrant> parse_net_grant(std::string_view);

using MacBytes = std::array<std::uint8_t, 6>;
/// REQUIRES: check_mac() found nothing.
[[nodiscard]] MacBytes mac_bytes(std::string_view);
/// A locally administered address that nobody else is likely to have.
[[nodiscard]] std::string random_mac();

} // namespace aerate::control
