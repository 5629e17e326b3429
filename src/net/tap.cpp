#include "net/tap.hpp"

#include "base/host.hpp"
#include "base/log.hpp"
#include "net/tap_name.hpp"

#include <fcntl.h>
#include <net/if.h>

#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>

namespace aerate::net {

Result<std::shared_ptr<Tap>> Tap::open(const std::string& name) {
    if (const auto wrong = check_tap_name(name); !wrong.empty())
        return fail("tap: {}", wrong);
    FileDescriptor fd = host::descriptor([] { return ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC); });
    if (!fd.valid())
        return fail_errno("cannot open /dev/net/tun for the tap {}", name);
    ifreq request{};
    std::ranges::copy(name, request.ifr_name);
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (::ioctl(fd.get(), TUNSETIFF, &request) < 0) {
        if (errno == EBUSY)
            return fail("the tap {} is in use by another process: each has one reader", name);
        if (errno == EPERM)
            return fail(
                "may not attach to the tap {}: make it with \"ip tuntap add dev {} mode tap user USER vnet_hdr\", "
                "or run with CAP_NET_ADMIN",
                name, name);
        return fail_errno("cannot attach to the tap {}", name);
    }
    return make(request.ifr_name, std::move(fd));
}

Result<std::shared_ptr<Tap>> Tap::adopt(FileDescriptor fd) {
    ifreq request{};
    if (::ioctl(fd.get(), TUNGETIFF, &request) < 0)
        return fail_errno("descriptor {} is not a tap's", fd.get());
    request.ifr_name[IFNAMSIZ - 1] = '\0';
    const auto flags = static_cast<unsigned>(static_cast<unsigned short>(request.ifr_flags));
    if ((flags & IFF_TAP) == 0 || (flags & IFF_VNET_HDR) == 0)
        return fail("descriptor {} ({}) must be a tap with IFF_VNET_HDR", fd.get(), request.ifr_name);
    // The process that passed the descriptor may have opened it blocking and inheritable.
    if (::fcntl(fd.get(), F_SETFL, O_NONBLOCK) < 0 || ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC) < 0)
        return fail_errno("cannot prepare descriptor {} ({})", fd.get(), request.ifr_name);
    return make(request.ifr_name, std::move(fd));
}

Result<std::shared_ptr<Tap>> Tap::make(std::string name, FileDescriptor fd) {
    int header_size = header::size;
    if (::ioctl(fd.get(), TUNSETVNETHDRSZ, &header_size) < 0)
        return fail_errno("cannot set the header size of the tap {}", name);
    FileDescriptor for_writing = host::descriptor([&] { return ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0); });
    if (!for_writing.valid())
        return fail_errno("cannot duplicate the descriptor of the tap {}", name);
    auto tap = std::shared_ptr<Tap>(new Tap(std::move(name), std::move(fd), std::move(for_writing)));
    // Whatever it was: frames are whole until a driver says otherwise.
    if (::ioctl(tap->fd_.get(), TUNSETOFFLOAD, 0UL) < 0)
        return fail_errno("cannot set the offloads of the tap {}", tap->name_);
    return tap;
}

void Tap::set_guest_offloads(GuestOffloads offloads) {
    if (offloads == offloads_)
        return;
    // Every kernel has these three (linux/drivers/net/tun.c, set_offload).
    if (::ioctl(fd_.get(), TUNSETOFFLOAD, static_cast<unsigned long>(tap_offloads(offloads))) < 0) {
        log::warning("{}: its offloads cannot be set: {}", label(), describe_errno(errno));
        return;
    }
    offloads_ = offloads;
}

Received Tap::receive(std::span<const iovec> pieces) {
    for (;;) {
        const ssize_t got = ::readv(fd_.get(), pieces.data(), static_cast<int>(pieces.size()));
        if (got > 0)
            return {Outcome::done, static_cast<std::size_t>(got)};
        if (got == 0)
            return {Outcome::gone, 0};
        switch (errno) {
        case EINTR:
            continue;
        case EAGAIN:
            return {Outcome::later, 0};
        case EBADFD: // the device was deleted
            return {Outcome::gone, 0};
        default:
            return {Outcome::dropped, 0};
        }
    }
}

Outcome Tap::send(std::span<const iovec> pieces) {
    for (;;) {
        if (::writev(fd_.get(), pieces.data(), static_cast<int>(pieces.size())) >= 0)
            return Outcome::done;
        switch (errno) {
        case EINTR:
            continue;
        case EAGAIN:
            return Outcome::later;
        case EBADFD:
            return Outcome::gone;
        default: // EINVAL: a header that makes no sense. EIO: the interface is down
            return Outcome::dropped;
        }
    }
}

} // namespace aerate::net
