#include "platform/serial.hpp"

#include "base/check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

namespace aerate {

Result<std::unique_ptr<Serial>> Serial::create(EventLoop& loop, std::shared_ptr<ConsoleOutput> sink) {
    EventFd interrupt = TRY(EventFd::create());
    EventFd wake = TRY(EventFd::create());
    return std::unique_ptr<Serial>(new Serial(loop, std::move(sink), std::move(interrupt), std::move(wake)));
}

Serial::Serial(EventLoop& loop, std::shared_ptr<ConsoleOutput> sink, EventFd interrupt, EventFd wake)
    : loop_(loop)
    , interrupt_(std::move(interrupt))
    , wake_(std::move(wake))
    , sink_(std::move(sink))
    , wakes_(loop_.watch(wake_.fd(), [this] { serve(); })) {}

Serial::~Serial() {
    // Twice: what was on its way, then what has come since.
    flush();
    flush();
}

void Serial::read(std::uint64_t offset, std::span<std::byte> into) {
    bool interrupt = false;
    bool wake = false;
    {
        const std::scoped_lock lock(mutex_);
        // A wider access is as many byte accesses, as on the ISA bus.
        for (std::byte& byte : into)
            byte = std::byte{uart_.read(offset++)};
        interrupt = uart_.take_interrupt();
        wake = take_wake(false);
    }
    if (interrupt)
        interrupt_.signal();
    if (wake)
        wake_.signal();
}

void Serial::write(std::uint64_t offset, std::span<const std::byte> from) {
    bool interrupt = false;
    bool wake = false;
    {
        const std::scoped_lock lock(mutex_);
        const bool output_was_empty = output_.empty();
        for (const std::byte byte : from) {
            if (const auto sent = uart_.write(offset++, std::to_integer<std::uint8_t>(byte)))
                append_output({&*sent, 1});
        }
        interrupt = uart_.take_interrupt();
        wake = take_wake(output_was_empty);
    }
    if (interrupt)
        interrupt_.signal();
    if (wake)
        wake_.signal();
}

std::size_t Serial::receive(std::span<const std::byte> bytes) {
    CHECK(loop_.owned_here());
    bool interrupt = false;
    std::size_t taken = 0;
    {
        const std::scoped_lock lock(mutex_);
        taken = std::min(bytes.size(), uart_.receive_space());
        uart_.receive(bytes.first(taken));
        interrupt = uart_.take_interrupt();
    }
    if (interrupt)
        interrupt_.signal();
    return taken;
}

std::size_t Serial::receive_space() {
    CHECK(loop_.owned_here());
    const std::scoped_lock lock(mutex_);
    return uart_.receive_space();
}

void Serial::when_receive_space(EventLoop::Callback callback) {
    CHECK(loop_.owned_here());
    receive_space_callback_ = std::move(callback);
    bool wake = false;
    {
        const std::scoped_lock lock(mutex_);
        receive_wanted_ = receive_space_callback_ != nullptr;
        wake = take_wake(false);
    }
    if (wake)
        wake_.signal();
}

void Serial::print(std::string_view text) {
    bool wake = false;
    {
        const std::scoped_lock lock(mutex_);
        wake = output_.empty();
        append_output(std::as_bytes(std::span(text)));
    }
    if (wake)
        wake_.signal();
}

ByteCount Serial::dropped() const {
    const std::scoped_lock lock(mutex_);
    return dropped_;
}

UartState Serial::save() const {
    const std::scoped_lock lock(mutex_);
    return uart_.state();
}

void Serial::restore(const UartState& state) {
    bool interrupt = false;
    {
        const std::scoped_lock lock(mutex_);
        uart_ = Uart16550(state);
        interrupt = uart_.take_interrupt();
    }
    if (interrupt)
        interrupt_.signal();
    wake_.signal();
}

// Called with mutex_ held: whether the loop has something to do that it does not know of.
bool Serial::take_wake(bool output_was_empty) {
    const bool room = receive_wanted_ && uart_.receive_space() > 0;
    if (room)
        receive_wanted_ = false;
    return room || (output_was_empty && !output_.empty());
}

// Called with mutex_ held.
void Serial::append_output(std::span<const std::byte> bytes) {
    if (output_.size() + bytes.size() > output_limit.value) {
        const std::size_t excess = output_.size() / 2;
        output_.erase(output_.begin(), output_.begin() + static_cast<std::ptrdiff_t>(excess));
        dropped_ += ByteCount{excess};
        unsaid_ += ByteCount{excess};
    }
    output_.insert(output_.end(), bytes.begin(), bytes.end());
}

void Serial::serve() {
    wake_.drain();
    if (!writable_.active())
        flush();
    if (receive_space_callback_ && receive_space() > 0) {
        auto callback = std::exchange(receive_space_callback_, nullptr);
        callback();
    }
}

void Serial::flush() {
    if (flushed_ == flushing_.size()) {
        flushing_.clear();
        flushed_ = 0;
        const std::scoped_lock lock(mutex_);
        std::swap(flushing_, output_);
        if (const ByteCount lost = std::exchange(unsaid_, {}); lost.value > 0) {
            const std::string notice =
                fmt::format("\r\naerate: {} bytes of console output were dropped here\r\n", lost.value);
            const auto bytes = std::as_bytes(std::span(notice));
            flushing_.insert(flushing_.begin(), bytes.begin(), bytes.end());
        }
    }
    while (flushed_ < flushing_.size()) {
        const std::size_t written = sink_->write(std::span(flushing_).subspan(flushed_));
        if (written == 0) {
            wait_for_sink();
            return;
        }
        flushed_ += written;
    }
    if (writable_.active()) {
        writable_.cancel();
        // What came while the sink was full woke no thread.
        wake_.signal();
    }
}

/// Waits for the sink: full and failed are two conditions, each with its own descriptor.
void Serial::wait_for_sink() {
    const int fd = sink_->writable_fd();
    if (writable_.active() && watched_ == fd)
        return;
    watched_ = fd;
    writable_ = loop_.watch(fd, [this] { flush(); });
}

} // namespace aerate
