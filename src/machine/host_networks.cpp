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

Result<std::shared_ptr<net::BackEnd>> start(const control::UserNetworkConfig& config) {
    using Protocol = net::ForwardedPort::Protocol;
    std::vector<net::ForwardedPort> ports;
    for (const std::string& text : config.forward)
        if (const auto forward = control::parse_forward(text))
            ports.push_back({forward->udp ? Protocol::udp : Protocol::tcp, forward->host, forward->guest});
    return TRY(net::start_user_network(ports));
}

/// Works on a duplicate: should the number be a descriptor of this program's own, that one is left as it is.
Result<std::shared_ptr<net::BackEnd>> adopt(std::uint32_t number) {
    const int fd = static_cast<int>(number);
    FileDescriptor ours = host::descriptor([fd] { return ::fcntl(fd, F_DUPFD_CLOEXEC, 0); });
    if (!ours.valid())
        return fail_errno("descriptor {}: start this program with it open, as with \"{}<>/dev/...\" in a shell", fd,
                          fd);
    (void)::fcntl(fd, F_SETFD, FD_CLOEXEC);
    int type = 0;
    socklen_t size = sizeof type;
    if (::getsockopt(ours.get(), SOL_SOCKET, SO_TYPE, &type, &size) == 0)
        return TRY(net::StreamSocket::adopt(std::move(ours), fmt::format("descriptor {}", fd)));
    return TRY(net::Tap::adopt(std::move(ours)));
}

std::string missing_text(const control::NetworkInterface& interface) {
    if (interface.user)
        return "user networking";
    return interface.fd ? "a descriptor" : "the tap " + quoted(interface.host_dev_name);
}

} // namespace

Result<std::shared_ptr<net::BackEnd>> open_back_end(const control::NetworkInterface& interface) {
    auto opened = [&]() -> Result<std::shared_ptr<net::BackEnd>> {
        if (interface.user)
            return TRY(start(*interface.user));
        if (interface.fd)
            return TRY(adopt(*interface.fd));
        return TRY(net::Tap::open(interface.host_dev_name));
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
            interface.host_dev_name = granted->host_dev_name;
            interface.user = granted->user;
            interface.fd = granted->fd;
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
