#include "memory/fault_handler.hpp"

#include "base/host.hpp"
#include "base/log.hpp"
#include "base/peer.hpp"
#include "base/unix_socket.hpp"
#include "memory/fixed_mapping.hpp"
#include "memory/mapping.hpp"
#include "memory/system_calls.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <linux/userfaultfd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace aerate {
namespace {

constexpr int so_peerpidfd = 77; // SO_PEERPIDFD (Linux 6.5), younger than the oldest headers we build with

/// Not UFFD_USER_MODE_ONLY, which anyone may have: KVM touches guest memory in the kernel.
Result<FileDescriptor> open_userfaultfd() {
    constexpr unsigned flags = O_CLOEXEC | O_NONBLOCK;
    const FileDescriptor device = host::descriptor([] { return ::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC); });
    FileDescriptor made = device.valid()
                              ? host::descriptor([&] { return ::ioctl(device.get(), USERFAULTFD_IOC_NEW, flags); })
                              : host::descriptor([] { return ::syscall(SYS_userfaultfd, flags); });
    if (!made.valid())
        return fail_errno("this host gives no userfaultfd: it takes access to /dev/userfaultfd, CAP_SYS_PTRACE or "
                          "vm.unprivileged_userfaultfd=1");
    return made;
}

std::uint64_t features_for(Backing backing) {
    switch (backing) {
    case Backing::memfd:
        return UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_MISSING_SHMEM;
    case Backing::hugetlb:
        return UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_MISSING_HUGETLBFS;
    case Backing::anonymous:
        break;
    }
    return UFFD_FEATURE_EVENT_REMOVE;
}

/// Who listened there, and still does so if their process has not ended. Not the connection: handlers may close it as
/// soon as they have the message.
FileDescriptor process_behind(int connection) {
    FileDescriptor process = host::descriptor([&] {
        int found = -1;
        socklen_t size = sizeof found;
        return ::getsockopt(connection, SOL_SOCKET, so_peerpidfd, &found, &size) == 0 ? found : -1;
    });
    const auto peer = peer_credentials(connection);
    if (!process.valid() && peer && peer->pid > 0)
        process = host::descriptor([&] { return ::syscall(SYS_pidfd_open, peer->pid, 0U); });
    return process;
}

Result<> check_peer(int connection, const std::string& socket) {
    const auto peer = peer_credentials(connection);
    if (!peer || !is_trusted_user(peer->uid, ::geteuid()))
        return fail("at {} another user's process listens, and would have all of the guest's memory", socket);
    return {};
}

Result<FileDescriptor> event() {
    FileDescriptor made = host::descriptor([] { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); });
    if (!made.valid())
        return fail_errno("cannot create an eventfd to watch the page fault handler");
    return made;
}

void signal(const FileDescriptor& event) {
    const std::uint64_t one = 1;
    (void)!::write(event.get(), &one, sizeof one);
}

/// Waits until the descriptor has one of these events, or `stop` is readable. Returns whether it has.
bool wait_for(const FileDescriptor& fd, short events, const FileDescriptor& stop) {
    std::array<pollfd, 2> both{pollfd{.fd = fd.get(), .events = events, .revents = 0},
                               pollfd{.fd = stop.get(), .events = POLLIN, .revents = 0}};
    while (::poll(both.data(), both.size(), -1) < 0) {
        if (errno != EINTR && errno != ENOMEM)
            return false;
    }
    return both[1].revents == 0 && both[0].revents != 0;
}

} // namespace

Result<std::unique_ptr<FaultHandler>> FaultHandler::connect(const FaultHandlerPlace& place, Backing backing,
                                                            std::span<const MappedRegion> regions, PageBitmap pages) {
    std::unique_ptr<FaultHandler> handler(new FaultHandler(place.socket, regions, std::move(pages)));
    for (const MappedRegion& region : regions)
        handler->pages_.set(frames_of(region.guest));
    auto connection = connect_unix(place.socket);
    if (!connection)
        return fail_because(std::move(connection).error(), "no page fault handler takes the guest's memory");
    handler->connection_ = *std::move(connection);
    TRY(check_peer(handler->connection_.get(), place.socket));
    TRY(handler->register_memory(backing));
    TRY(handler->prepare_for_its_end());
    TRY(handler->send(place, backing == Backing::hugetlb ? huge_page_size : page_size));
    TRY(handler->watch());
    return handler;
}

FaultHandler::~FaultHandler() {
    signal(stop_);
}

Result<> FaultHandler::register_memory(Backing backing) {
    faults_ = TRY(open_userfaultfd());
    uffdio_api api{.api = UFFD_API, .features = features_for(backing), .ioctls = 0};
    if (::ioctl(faults_.get(), UFFDIO_API, &api) != 0)
        return fail_errno("this host's userfaultfd does not tell of pages that are given back");
    for (const MappedRegion& region : regions_) {
        uffdio_register ram{
            .range = {.start = reinterpret_cast<std::uintptr_t>(region.host), .len = region.guest.length.value},
            .mode = UFFDIO_REGISTER_MODE_MISSING,
            .ioctls = 0};
        if (::ioctl(faults_.get(), UFFDIO_REGISTER, &ram) != 0)
            return fail_errno("the host's userfaultfd does not take {} bytes of guest memory",
                              region.guest.length.value);
    }
    return {};
}

/// Both sizes of pages are in bytes: the one that says KiB is the older name of the other.
Result<> FaultHandler::send(const FaultHandlerPlace& place, ByteCount host_page_size) const {
    std::string message;
    ByteCount offset = place.offset;
    for (const MappedRegion& region : regions_) {
        message +=
            fmt::format(R"({}{{"base_host_virt_addr":{},"size":{},"offset":{},"page_size":{},"page_size_kib":{}}})",
                        message.empty() ? "[" : ",", reinterpret_cast<std::uintptr_t>(region.host),
                        region.guest.length.value, offset.value, host_page_size.value, host_page_size.value);
        offset += region.guest.length;
    }
    message += "]";

    iovec whole{.iov_base = message.data(), .iov_len = message.size()};
    msghdr header{};
    header.msg_iov = &whole;
    header.msg_iovlen = 1;
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* const part = CMSG_FIRSTHDR(&header);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = faults_.get();
    std::memcpy(CMSG_DATA(part), &fd, sizeof fd);
    if (::sendmsg(connection_.get(), &header, MSG_NOSIGNAL) != static_cast<ssize_t>(message.size()))
        return fail_errno("the page fault handler at {} does not take the guest's memory", socket_);
    return {};
}

Result<> FaultHandler::prepare_for_its_end() {
    nothing_ = host::descriptor([] { return ::memfd_create("lost-guest-memory", MFD_CLOEXEC); });
    if (!nothing_.valid())
        return fail_errno("cannot create an empty file");
    loss_event_ = TRY(event());
    stop_ = TRY(event());
    watches_.reserve(regions_.size());
    for (const MappedRegion& region : regions_)
        watches_.push_back(TRY(FileLossWatch::start(host_bytes(region, frames_of(region.guest)),
                                                    FileLossWatch::StandIn::page, loss_event_.get())));
    return {};
}

Result<> FaultHandler::watch() {
    process_ = process_behind(connection_.get());
    if (process_.valid())
        watcher_ = TRY(host::start_thread(fault_handler_thread, "fault-handler",
                                          [this](const std::stop_token&) { wait_for_its_end(); }));
    else if (errno == ESRCH)
        return fail("the page fault handler at {} has ended", socket_);
    else
        log::warning("the host does not say which process listens at {}: should the page fault handler end, the guest "
                     "waits for it until it is killed",
                     socket_);
    return {};
}

/// A thread of its own does: any other may be the one that waits for a page. That the process has ended is not enough,
/// for it may have left the work to a child, which then has the connection.
void FaultHandler::wait_for_its_end() {
    if (!wait_for(process_, POLLIN, stop_) || !wait_for(connection_, POLLRDHUP, stop_))
        return;
    log::error("the page fault handler at {} has ended: what it has not supplied of the guest's memory is gone",
               socket_);
    give_up();
}

/// The memory is taken away before anyone who waits is woken, or a page that is missing would read as zero. As it is,
/// vCPUs stop at their next access, and the monitor's own threads go on with stand-ins. A mapping that goes wakes
/// nobody, and our closing the descriptor does only if the handler does not have it any more (userfaultfd_release()).
void FaultHandler::give_up() {
    const std::scoped_lock lock(giving_up_);
    if (lost_.exchange(true))
        return;
    for (const MappedRegion& region : regions_) {
        const auto bytes = host_bytes(region, frames_of(region.guest));
        if (map_over(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, nothing_.get(), 0) !=
            FixedMapping::made) {
            log::error("the host does not let go of guest memory that nobody supplies: {}", describe_errno(errno));
            std::abort();
        }
        advise_private(bytes);
        uffdio_range all{.start = reinterpret_cast<std::uintptr_t>(bytes.data()), .len = bytes.size()};
        if (::ioctl(faults_.get(), UFFDIO_WAKE, &all) != 0)
            log::error("the host does not wake those who wait for guest memory: {}", describe_errno(errno));
    }
    faults_.close();
    signal(loss_event_);
}

} // namespace aerate
