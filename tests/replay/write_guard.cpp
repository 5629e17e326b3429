#include "write_guard.hpp"

#include "base/check.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <array>
#include <bit>

namespace aerate::replay {
namespace {

constexpr std::uint64_t wp_unpopulated = 1U << 13; // UFFD_FEATURE_WP_UNPOPULATED, Linux 6.4: younger than our headers

FileDescriptor open_userfaultfd() {
    return FileDescriptor(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
}

} // namespace

bool userfaultfd_is_allowed() {
    const FileDescriptor fd = open_userfaultfd();
    uffdio_api api{.api = UFFD_API, .features = wp_unpopulated, .ioctls = 0};
    return fd.valid() && ::ioctl(fd.get(), UFFDIO_API, &api) == 0;
}

WriteGuard::~WriteGuard() {
    if (!thread_.joinable())
        return;
    // Whoever waits for a fault goes on, with the protection gone.
    const MappedRegion& region = memory_.regions().front();
    (void)protect(std::bit_cast<std::uint64_t>(region.host), region.guest.length, false);
    stop_->signal();
    thread_.join();
}

Result<> WriteGuard::open() {
    uffd_ = open_userfaultfd();
    if (!uffd_.valid())
        return fail_errno("userfaultfd");
    uffdio_api api{.api = UFFD_API,
                   .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | (holes_ == Holes::are_guarded ? wp_unpopulated : 0),
                   .ioctls = 0};
    if (::ioctl(uffd_.get(), UFFDIO_API, &api) != 0)
        return fail_errno("UFFDIO_API");
    const MappedRegion& region = memory_.regions().front();
    uffdio_register registration{
        .range = {.start = std::bit_cast<std::uint64_t>(region.host), .len = region.guest.length.value},
        .mode = UFFDIO_REGISTER_MODE_WP,
        .ioctls = 0};
    if (::ioctl(uffd_.get(), UFFDIO_REGISTER, &registration) != 0)
        return fail_errno("UFFDIO_REGISTER");
    stop_ = TRY(EventFd::create());
    thread_ = std::jthread([this] { serve(); });
    return {};
}

Result<> WriteGuard::protect_all() {
    if (!uffd_.valid())
        TRY(open());
    locked([](PageBitmap& written) { written.clear_all(); });
    const MappedRegion& region = memory_.regions().front();
    return protect(std::bit_cast<std::uint64_t>(region.host), region.guest.length, true);
}

Result<> WriteGuard::protect(std::uint64_t address, ByteCount length, bool on) const {
    uffdio_writeprotect request{.range = {.start = address, .len = length.value},
                                .mode = on ? std::uint64_t{UFFDIO_WRITEPROTECT_MODE_WP} : 0U};
    if (::ioctl(uffd_.get(), UFFDIO_WRITEPROTECT, &request) != 0)
        return fail_errno("UFFDIO_WRITEPROTECT");
    return {};
}

void WriteGuard::serve() {
    for (;;) {
        std::array<pollfd, 2> ready{
            {{.fd = uffd_.get(), .events = POLLIN, .revents = 0}, {.fd = stop_->fd(), .events = POLLIN, .revents = 0}}};
        (void)::poll(ready.data(), ready.size(), -1);
        if (ready[1].revents != 0)
            return;
        take_fault();
    }
}

void WriteGuard::take_fault() {
    uffd_msg message{};
    if (::read(uffd_.get(), &message, sizeof message) != sizeof message || message.event != UFFD_EVENT_PAGEFAULT)
        return;
    const std::uint64_t address = message.arg.pagefault.address & ~(page_size.value - 1);
    const MappedRegion& region = memory_.regions().front();
    const std::uint64_t offset = address - std::bit_cast<std::uint64_t>(region.host);
    const std::scoped_lock lock(mutex_);
    written_.set({frame_of({region.guest.start.value + offset}), {1}});
    CHECK(protect(address, page_size, false).has_value());
}

} // namespace aerate::replay
