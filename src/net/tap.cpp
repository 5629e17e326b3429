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

Result<std::shared_ptr<Tap>> Tap::open(const std::string& name, Queues queues) {
    if (const auto wrong = check_tap_name(name); !wrong.empty())
        return fail("tap: {}", wrong);
    FileDescriptor fd = host::descriptor([] { return ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC); });
    if (!fd.valid())
        return fail_errno("cannot open /dev/net/tun for the tap {}", name);
    ifreq request{};
    std::ranges::copy(name, request.ifr_name);
    const auto attach = [&](int more_flags) {
        request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | more_flags);
        return ::ioctl(fd.get(), TUNSETIFF, &request) == 0;
    };
    // The kernel lets a tap that was made for several queues be attached to only with IFF_MULTI_QUEUE, even for one
    // queue (linux/drivers/net/tun.c, tun_set_iff).
    const bool attached =
        queues == Queues::several ? attach(IFF_MULTI_QUEUE) : attach(0) || (errno == EINVAL && attach(IFF_MULTI_QUEUE));
    if (!attached) {
        if (errno == EBUSY)
            return fail("the tap {} is in use by another process: each has one reader", name);
        if (errno == EPERM)
            return fail(
                "may not attach to the tap {}: make it with \"ip tuntap add dev {} mode tap user USER vnet_hdr\", "
                "or run with CAP_NET_ADMIN",
                name, name);
        if (errno == EINVAL && queues == Queues::several)
            return fail("the tap {} has one queue: make it with \"ip tuntap add dev {} mode tap user USER vnet_hdr "
                        "multi_queue\", or ask for one",
                        name, name);
        return fail_errno("cannot attach to the tap {}", name);
    }
    return make(request.ifr_name, std::move(fd), true);
}

Result<std::shared_ptr<Tap>> Tap::adopt(FileDescriptor fd, Queues queues) {
    ifreq request{};
    if (::ioctl(fd.get(), TUNGETIFF, &request) < 0)
        return fail_errno("descriptor {} is not a tap's", fd.get());
    request.ifr_name[IFNAMSIZ - 1] = '\0';
    const auto flags = static_cast<unsigned>(static_cast<unsigned short>(request.ifr_flags));
    if ((flags & IFF_TAP) == 0 || (flags & IFF_VNET_HDR) == 0)
        return fail("descriptor {} ({}) must be a tap with IFF_VNET_HDR", fd.get(), request.ifr_name);
    if (queues == Queues::several && (flags & IFF_MULTI_QUEUE) == 0)
        return fail("descriptor {} ({}) is not one of several queues: they must be a tap's with IFF_MULTI_QUEUE",
                    fd.get(), request.ifr_name);
    // The process that passed the descriptor may have opened it blocking and inheritable.
    if (::fcntl(fd.get(), F_SETFL, O_NONBLOCK) < 0 || ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC) < 0)
        return fail_errno("cannot prepare descriptor {} ({})", fd.get(), request.ifr_name);
    return make(request.ifr_name, std::move(fd), (flags & IFF_DETACH_QUEUE) == 0);
}

Result<std::shared_ptr<Tap>> Tap::make(std::string name, FileDescriptor fd, bool used) {
    int header_size = header::size;
    if (::ioctl(fd.get(), TUNSETVNETHDRSZ, &header_size) < 0)
        return fail_errno("cannot set the header size of the tap {}", name);
    FileDescriptor for_writing = host::descriptor([&] { return ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0); });
    if (!for_writing.valid())
        return fail_errno("cannot duplicate the descriptor of the tap {}", name);
    auto tap = std::shared_ptr<Tap>(new Tap(std::move(name), std::move(fd), std::move(for_writing)));
    tap->used_ = used;
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

bool Tap::set_used(bool used) {
    if (used == used_)
        return true;
    ifreq request{};
    request.ifr_flags = static_cast<short>(used ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE);
    if (::ioctl(fd_.get(), TUNSETQUEUE, &request) < 0) {
        log::warning("{}: a queue cannot be {}: {}", label(), used ? "attached" : "detached", describe_errno(errno));
        return false;
    }
    used_ = used;
    return true;
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

namespace {

/// The tap puts frames into each queue that is attached (linux/drivers/net/tun.c, tun_select_queue).
Result<BackEnds> first_is_used(std::vector<std::shared_ptr<Tap>> queues) {
    for (std::size_t i = 0; i < queues.size(); ++i)
        if (!queues[i]->set_used(i == 0))
            return fail("{}: cannot {} one of its queues", queues[i]->label(), i == 0 ? "attach" : "detach");
    return BackEnds(queues.begin(), queues.end());
}

} // namespace

Result<BackEnds> open_tap(const std::string& name, std::uint16_t queues) {
    std::vector<std::shared_ptr<Tap>> opened;
    opened.reserve(queues);
    for (std::uint16_t i = 0; i < queues; ++i)
        opened.push_back(TRY(Tap::open(name, queues > 1 ? Tap::Queues::several : Tap::Queues::one)));
    return first_is_used(std::move(opened));
}

Result<BackEnds> adopt_tap(std::vector<FileDescriptor> descriptors) {
    std::vector<std::shared_ptr<Tap>> adopted;
    adopted.reserve(descriptors.size());
    const auto queues = descriptors.size() > 1 ? Tap::Queues::several : Tap::Queues::one;
    for (FileDescriptor& fd : descriptors) {
        adopted.push_back(TRY(Tap::adopt(std::move(fd), queues)));
        if (adopted.back()->name() != adopted.front()->name())
            return fail("the descriptors of one card must be queues of one tap: they are of {} and of {}",
                        adopted.front()->name(), adopted.back()->name());
    }
    return first_is_used(std::move(adopted));
}

} // namespace aerate::net
