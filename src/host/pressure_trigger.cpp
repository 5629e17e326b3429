#include "host/pressure_trigger.hpp"

#include "base/host.hpp"
#include "base/log.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <fcntl.h>
#include <unistd.h>

#include <string>

namespace aerate::hostd {
namespace {

namespace asio = boost::asio;

/// A tenth of the time in which some task waits is where the law calls it a shortage (policy/level.cpp).
bool arm(const FileDescriptor& file, std::chrono::milliseconds window) {
    const auto micros = std::chrono::microseconds(window).count();
    const std::string words = fmt::format("some {} {}", micros / 10, micros);
    return ::write(file.get(), words.c_str(), words.size() + 1) >= 0;
}

} // namespace

Result<ArmedTrigger> arm_pressure_trigger() {
    FileDescriptor file =
        host::descriptor([] { return ::open("/proc/pressure/memory", O_RDWR | O_NONBLOCK | O_CLOEXEC); });
    if (!file.valid())
        return fail_errno("no pressure stall information: cannot open /proc/pressure/memory");
    for (const auto window : {short_window, long_window})
        if (arm(file, window))
            return ArmedTrigger{std::move(file), window};
    return fail_errno("no pressure stall information: cannot arm a trigger");
}

/// The kernel says POLLPRI, which is what Asio calls an error.
struct PressureWatch::Wait {
    Wait(asio::io_context& context, int fd, std::function<void()> fired)
        : descriptor(context, fd)
        , call(std::move(fired)) {
        again();
    }
    ~Wait() { descriptor.release(); } // it is the trigger's
    void again() {
        descriptor.async_wait(asio::posix::stream_descriptor::wait_error, [this](boost::system::error_code error) {
            if (error)
                return; // this may be gone
            again();
            call();
        });
    }
    asio::posix::stream_descriptor descriptor;
    std::function<void()> call;
};

PressureWatch::PressureWatch(EventLoop& loop, ArmedTrigger trigger, std::function<void()> fired)
    : trigger_(std::move(trigger)) {
    try {
        wait_ = std::make_unique<Wait>(loop.context(), trigger_.file.get(), std::move(fired));
    } catch (const std::exception& refused) {
        log::warning("host: cannot watch the pressure: {}", refused.what());
    }
}
PressureWatch::~PressureWatch() = default;

} // namespace aerate::hostd
