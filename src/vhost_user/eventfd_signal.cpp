#include "vhost_user/eventfd_signal.hpp"

#include "base/host.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <linux/aio_abi.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <ctime>
#include <mutex>
#include <optional>
#include <type_traits>

namespace aerate::vhost_user {
namespace {

/// Completions that are not reaped yet. They are told when they come; reaping only makes room.
constexpr unsigned completions_max = 128;

} // namespace

Result<EventfdSignal> EventfdSignal::create() {
    FileDescriptor nothing = host::descriptor([&] { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); });
    if (!nothing.valid())
        return fail_errno("cannot open /dev/null");
    aio_context_t context = 0;
    static_assert(std::is_same_v<aio_context_t, unsigned long>);
    if (::syscall(SYS_io_setup, completions_max, &context) != 0)
        return fail_errno("cannot signal eventfds without blocking: asynchronous I/O (io_setup) is not there, or "
                          "fs.aio-max-nr is used up");
    return EventfdSignal(context, std::move(nothing));
}

Result<const EventfdSignal*> EventfdSignal::get() {
    static std::mutex mutex;
    static std::optional<EventfdSignal> signal;
    const std::scoped_lock lock(mutex);
    if (!signal)
        signal.emplace(TRY(create()));
    return &*signal;
}

void EventfdSignal::send(int eventfd) const {
    iocb request{};
    request.aio_lio_opcode = IOCB_CMD_PREAD;
    request.aio_fildes = static_cast<std::uint32_t>(nothing_.get());
    request.aio_flags = IOCB_FLAG_RESFD;
    request.aio_resfd = static_cast<std::uint32_t>(eventfd);
    iocb* requests = &request;
    while (::syscall(SYS_io_submit, context_, 1L, &requests) < 0 && errno == EAGAIN) {
        std::array<io_event, completions_max> done;
        timespec now{};
        if (::syscall(SYS_io_getevents, context_, 0L, static_cast<long>(done.size()), done.data(), &now) < 0 &&
            errno != EINTR)
            return;
    }
}

} // namespace aerate::vhost_user
