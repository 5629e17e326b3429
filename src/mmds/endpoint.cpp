#include "mmds/endpoint.hpp"

#include "base/host.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace aerate::mmds {
namespace {

constexpr std::uint16_t port = 80;
constexpr int backlog = 16;
constexpr const char* device = "mmds";

struct Work {
    control::Ipv4Address address{};
    Endpoint made{};
    const char* failed = nullptr; ///< at what
    int error = 0;

    bool fail_at(const char* step) {
        failed = step;
        error = errno;
        return false;
    }
};

sockaddr_in address_of(const control::Ipv4Address& address, std::uint16_t at_port = 0) {
    sockaddr_in result{};
    result.sin_family = AF_INET;
    result.sin_port = htons(at_port);
    std::memcpy(&result.sin_addr, address.data(), address.size());
    return result;
}

/// Says less than the kernel does by default, where it lets us: the namespace works all the same.
void set_limit(const char* path, const char* value) {
    const FileDescriptor file = host::descriptor([path] { return ::open(path, O_WRONLY | O_CLOEXEC); });
    if (file.valid())
        (void)!::write(file.get(), value, std::strlen(value));
}

bool open_tun(Work& work) {
    work.made.tun = host::descriptor([] { return ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC); });
    if (!work.made.tun.valid())
        return work.fail_at("open /dev/net/tun");
    ifreq request{};
    std::strcpy(request.ifr_name, device);
    request.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
    return ::ioctl(work.made.tun.get(), TUNSETIFF, &request) == 0 || work.fail_at("make a tun device");
}

/// Gives the device the service's address, and makes it the way to everywhere: where the guest is, it says itself.
bool configure(Work& work) {
    const FileDescriptor control = host::descriptor([] { return ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); });
    if (!control.valid())
        return work.fail_at("have a socket");
    ifreq request{};
    std::strcpy(request.ifr_name, device);
    const auto set = [&](unsigned long what, const control::Ipv4Address& value) {
        const sockaddr_in address = address_of(value);
        std::memcpy(&request.ifr_addr, &address, sizeof address);
        return ::ioctl(control.get(), what, &request) == 0;
    };
    if (!set(SIOCSIFADDR, work.address) || !set(SIOCSIFNETMASK, {255, 255, 255, 255}))
        return work.fail_at("give it an address");
    request.ifr_flags = IFF_UP;
    if (::ioctl(control.get(), SIOCSIFFLAGS, &request) != 0)
        return work.fail_at("start the tun device");
    const sockaddr_in everywhere = address_of({});
    std::array<char, IFNAMSIZ> name{};
    std::strcpy(name.data(), device);
    rtentry route{};
    std::memcpy(&route.rt_dst, &everywhere, sizeof everywhere);
    std::memcpy(&route.rt_genmask, &everywhere, sizeof everywhere);
    route.rt_flags = RTF_UP;
    route.rt_dev = name.data();
    return ::ioctl(control.get(), SIOCADDRT, &route) == 0 || work.fail_at("give it a route");
}

bool listen(Work& work) {
    work.made.listener =
        host::descriptor([] { return ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); });
    if (!work.made.listener.valid())
        return work.fail_at("have a socket");
    const int fd = work.made.listener.get();
    // Its connections inherit these. What a session takes is small; and an answer ends at the guest itself, since a
    // guest that forwards for others is to be asked for their metadata by nobody (Firecracker's TTL).
    constexpr int receive_buffer = 16 << 10;
    constexpr int hops = 1;
    const sockaddr_in address = address_of(work.address, port);
    return (::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer) == 0 &&
            ::setsockopt(fd, IPPROTO_IP, IP_TTL, &hops, sizeof hops) == 0 &&
            ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
            ::listen(fd, backlog) == 0) ||
           work.fail_at("listen");
}

/// Runs in the namespace, and in this process's memory and descriptors, as after vfork(2): whoever called waits.
int make(void* argument) {
    Work& work = *static_cast<Work*>(argument);
    set_limit("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
    set_limit("/proc/sys/net/ipv4/tcp_max_tw_buckets", "64");
    (void)(open_tun(work) && configure(work) && listen(work));
    return 0;
}

/// Fails if the host makes no namespace. Whether make() was content is in the work.
bool run_in_namespace(int namespaces, Work& work) {
    constexpr std::size_t stack_size = 256 << 10;
    const auto stack = host::zeroed<std::byte>(stack_size);
    if (!stack || host::refuses(host::Resource::thread))
        return false;
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, &before); // no handler is to run there
    const int pid =
        ::clone(make, stack.get() + stack_size, CLONE_VM | CLONE_VFORK | CLONE_FILES | namespaces | SIGCHLD, &work);
    const int error = errno;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (pid < 0) {
        errno = error;
        return false;
    }
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return true;
}

} // namespace

Result<Endpoint> open_endpoint(const control::Ipv4Address& address) {
    Work work{.address = address};
    if (!run_in_namespace(CLONE_NEWNET, work) &&
        (errno != EPERM || !run_in_namespace(CLONE_NEWNET | CLONE_NEWUSER, work)))
        return fail_errno("the metadata service needs a network namespace of its own, and this host refuses it: run as "
                          "root, or let users make user namespaces");
    if (work.failed != nullptr)
        return std::unexpected(Error{
            fmt::format("the metadata service cannot {}: {}", work.failed, describe_errno(work.error)), work.error});
    return std::move(work.made);
}

} // namespace aerate::mmds
