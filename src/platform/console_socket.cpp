#include "platform/console_socket.hpp"

#include "base/check.hpp"
#include "base/host.hpp"
#include "base/log.hpp"
#include "base/peer.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <utility>

namespace aerate {

Result<> ConsoleSocket::listen(int listening) {
    CHECK(loop_.owned_here());
    acceptor_.emplace(loop_, listening, [this](FileDescriptor peer) { attach(std::move(peer)); });
    return acceptor_->start();
}

void ConsoleSocket::hang_up() {
    CHECK(loop_.owned_here());
    acceptor_.reset();
    terminal_.reset();
}

void ConsoleSocket::connect(Serial& serial) {
    CHECK(loop_.owned_here() && serial_ == nullptr);
    serial_ = &serial;
    read_input();
}

void ConsoleSocket::disconnect() {
    CHECK(loop_.owned_here());
    if (terminal_)
        terminal_->input.reset();
    serial_ = nullptr;
}

std::size_t ConsoleSocket::write(std::span<const std::byte> bytes) {
    CHECK(loop_.owned_here());
    ring_.append(bytes);
    if (terminal_ && !terminal_->writable.active())
        send();
    return bytes.size();
}

void ConsoleSocket::attach(FileDescriptor peer) {
    const auto credentials = peer_credentials(peer.get());
    if (!credentials || !is_trusted_user(credentials->uid, ::geteuid()))
        return;
    FileDescriptor writing = host::descriptor([&] { return ::fcntl(peer.get(), F_DUPFD_CLOEXEC, 0); });
    if (!writing.valid())
        return log::warning("no terminal can be attached to the console: {}", describe_errno(errno));
    if (terminal_) {
        terminal_->notice += "\r\naerate: another terminal has been attached in place of this one\r\n";
        send();
    }
    terminal_ = std::make_unique<Terminal>(std::move(peer), std::move(writing), ring_.begin());
    leaving_.cancel();
    read_input();
    send();
}

void ConsoleSocket::read_input() {
    if (!terminal_ || serial_ == nullptr)
        return;
    auto input = Console::attach(loop_, *serial_, terminal_->fd.get(), {}, [this] { leave_later(); });
    if (input)
        terminal_->input = *std::move(input);
    else
        log::warning("nothing can be typed at the console: {}", input.error().message);
}

/// Not there and then: the input, which has ended, calls this.
void ConsoleSocket::leave_later() {
    leaving_ = loop_.after(std::chrono::milliseconds(0), [this] { terminal_.reset(); });
}

void ConsoleSocket::send() {
    if (!terminal_)
        return;
    if (terminal_->next < ring_.begin()) {
        terminal_->missed += ByteCount{ring_.begin().value - terminal_->next.value};
        terminal_->next = ring_.begin();
    }
    if (send_all(*terminal_))
        terminal_->writable.cancel();
    else if (errno != EAGAIN)
        terminal_.reset();
    else if (!terminal_->writable.active())
        terminal_->writable = loop_.watch_writable(terminal_->writing.get(), [this] { send(); });
}

bool ConsoleSocket::send_all(Terminal& terminal) {
    const auto put = [&](std::span<const std::byte> bytes) {
        ssize_t sent = -1;
        do
            sent = ::send(terminal.fd.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
        return sent;
    };
    if (terminal.missed.value > 0 && terminal.notice.empty())
        terminal.notice = fmt::format("\r\naerate: {} bytes of console output were dropped here\r\n",
                                      std::exchange(terminal.missed, {}).value);
    while (!terminal.notice.empty()) {
        const ssize_t sent = put(std::as_bytes(std::span(terminal.notice)));
        if (sent < 0)
            return false;
        terminal.notice.erase(0, static_cast<std::size_t>(sent));
    }
    while (terminal.next < ring_.end()) {
        const ssize_t sent = put(ring_.from(terminal.next));
        if (sent < 0)
            return false;
        terminal.next.value += static_cast<std::uint64_t>(sent);
    }
    return true;
}

} // namespace aerate
