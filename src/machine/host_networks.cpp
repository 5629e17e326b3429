#include "machine/host_networks.hpp"

#include "base/host.hpp"
#include "control/file_grants.hpp"
#include "net/stream_socket.hpp"
#include "net/tap.hpp"
#include "net/user_network.hpp"

#include <fcntl.h>

#include <sys/socket.h>

#include <algorithm>

namespace aerate {
namespace {

using control::quoted;

Result<net::BackEnds> start(const control::UserNetworkConfig& config) {
    using Protocol = net::ForwardedPort::Protocol;
    std::vector<net::ForwardedPort> ports;
    for (const std::string& text : config.forward)
        if (const auto forward = control::parse_forward(text))
            ports.push_back({forward->udp ? Protocol::udp : Protocol::tcp, forward->host, forward->guest});
    return net::BackEnds{TRY(net::start_user_network(ports))};
}

/// Returns a duplicate: should the number be a descriptor of this program's own, that one is left as it is.
Result<FileDescriptor> take(std::uint32_t number) {
    const int fd = static_cast<int>(number);
    FileDescriptor ours = host::descriptor([fd] { return ::fcntl(fd, F_DUPFD_CLOEXEC, 0); });
    if (!ours.valid())
        return fail_errno("descriptor {}: start this program with it open, as with \"{}<>/dev/...\" in a shell", fd,
                          fd);
    (void)::fcntl(fd, F_SETFD, FD_CLOEXEC);
    return ours;
}

Result<net::BackEnds> adopt(std::uint32_t number, const std::vector<std::uint32_t>& more) {
    std::vector<FileDescriptor> ours;
    ours.reserve(1 + more.size());
    ours.push_back(TRY(take(number)));
    for (const std::uint32_t another : more)
        ours.push_back(TRY(take(another)));
    int type = 0;
    socklen_t size = sizeof type;
    if (more.empty() && ::getsockopt(ours.front().get(), SOL_SOCKET, SO_TYPE, &type, &size) == 0)
        return net::BackEnds{
            TRY(net::StreamSocket::adopt(std::move(ours.front()), fmt::format("descriptor {}", number)))};
    return net::adopt_tap(std::move(ours));
}

std::string missing_text(const control::NetworkInterface& interface) {
    if (interface.user)
        return "user networking";
    return interface.fd ? "a descriptor" : "the tap " + quoted(interface.host_dev_name);
}

} // namespace

Result<net::BackEnds> open_back_ends(const control::NetworkInterface& interface) {
    auto opened = [&]() -> Result<net::BackEnds> {
        if (interface.user)
            return start(*interface.user);
        if (interface.fd)
            return adopt(*interface.fd, interface.more_fds);
        return net::open_tap(interface.host_dev_name, static_cast<std::uint16_t>(interface.pairs()));
    }();
    if (!opened)
        return fail_because(opened.error(), "network interface {}", interface.iface_id);
    return opened;
}

Result<> grant_networks(std::vector<control::NetworkInterface>& interfaces,
                        const std::vector<control::NetworkGrant>& grants, const NetworkOrigin& origin) {
    for (const control::NetworkGrant& grant : grants)
        if (std::ranges::find(interfaces, grant.iface_id, &control::NetworkInterface::iface_id) == interfaces.end())
            return fail("--net {}: the guest has no such network interface", grant.iface_id);
    std::string missing;
    std::string command = origin.command;
    for (control::NetworkInterface& interface : interfaces) {
        const auto granted = std::ranges::find(grants, interface.iface_id, &control::NetworkGrant::iface_id);
        if (granted != grants.end()) {
            const unsigned pairs = interface.pairs();
            interface.host_dev_name = granted->host_dev_name;
            interface.user = granted->user;
            interface.fd = granted->fd;
            interface.more_fds = granted->more_fds;
            if (granted->host_dev_name.empty() && granted->more_fds.size() + 1 != pairs)
                return fail(
                    "--net {}: is {} pairs of queues, and the guest's card has {}: each descriptor is one, and a "
                    "tap that was made with multi_queue any number",
                    interface.iface_id, granted->more_fds.size() + 1, pairs);
            if (pairs > 1)
                interface.queues = pairs;
            if (!granted->guest_mac.empty())
                interface.guest_mac = granted->guest_mac;
        } else if (!origin.own_seal || interface.fd) {
            missing += fmt::format("\n  interface {}: {}", interface.iface_id, missing_text(interface));
            command += fmt::format(" --net {}={}", interface.iface_id,
                                   interface.host_dev_name.empty() ? std::string("user")
                                                                   : "tap=" + quoted(interface.host_dev_name));
        }
    }
    if (missing.empty())
        return {};
    return fail(
        "the guest needs networks of this host, and a guest from outside opens none by itself:{}\nSay what each "
        "is connected to:\n  {}",
        missing, command);
}

} // namespace aerate
