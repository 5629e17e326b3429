#include "platform/console.hpp"

#include "base/check.hpp"
#include "base/fd.hpp"
#include "base/host.hpp"

#include <unistd.h>

#include <sys/epoll.h>

#include <array>
#include <cerrno>

namespace aerate {
namespace {

// Regular files and /dev/null cannot be waited for: epoll refuses them with EPERM, and reading them never blocks.
Result<bool> can_be_polled(int fd) {
    const FileDescriptor poll = host::descriptor([&] { return ::epoll_create1(EPOLL_CLOEXEC); });
    if (!poll.valid())
        return fail_errno("cannot create an epoll descriptor");
    epoll_event event{.events = EPOLLIN, .data = {}};
    if (::epoll_ctl(poll.get(), EPOLL_CTL_ADD, fd, &event) == 0)
        return true;
    if (errno == EPERM)
        return false;
    return fail_errno("cannot read console input from file descriptor {}", fd);
}

} // namespace

Result<std::unique_ptr<Console>> Console::attach(EventLoop& loop, Serial& serial, int input, EventLoop::Callback quit,
                                                 EventLoop::Callback ended) {
    CHECK(loop.owned_here());
    const bool pollable = TRY(can_be_polled(input));
    auto console = std::unique_ptr<Console>(new Console(loop, serial, input, std::move(quit), std::move(ended)));
    console->pollable_ = pollable;
    // A terminal that is not ours (we run in the background) would stop the whole process when read.
    if (::isatty(input) == 1) {
        console->terminal_ = RawTerminal::enter(input);
        console->ended_ = !console->terminal_.has_value();
    }
    console->deliver();
    return console;
}

Console::Console(EventLoop& loop, Serial& serial, int input, EventLoop::Callback quit, EventLoop::Callback ended)
    : loop_(loop)
    , serial_(serial)
    , input_(input)
    , quit_(std::move(quit))
    , when_ended_(std::move(ended)) {}

Console::~Console() {
    serial_.when_receive_space(nullptr);
}

void Console::read_input() {
    std::array<std::byte, 256> bytes;
    const ssize_t length = ::read(input_, bytes.data(), bytes.size());
    if (length > 0)
        accept(std::span(bytes).first(static_cast<std::size_t>(length)));
    else if (length == 0 || (errno != EINTR && errno != EAGAIN)) {
        ended_ = true;
        if (when_ended_)
            when_ended_();
    }
}

void Console::accept(std::span<const std::byte> bytes) {
    if (!terminal_) {
        waiting_.insert(waiting_.end(), bytes.begin(), bytes.end());
        return;
    }
    for (const std::byte key : bytes)
        type(key);
}

void Console::type(std::byte key) {
    const auto [to_guest, command] = keys_.typed(key);
    if (to_guest && (!hung_ || waiting_.size() < waiting_limit))
        waiting_.push_back(*to_guest);
    else if (to_guest)
        dropped_ += ByteCount{1};
    if (command == EscapeKeys::Command::help)
        serial_.print(EscapeKeys::help_text);
    if (command == EscapeKeys::Command::quit && quit_)
        quit_();
}

// Moves input on as far as it goes, and arranges to be called when it can go further.
void Console::deliver() {
    for (;;) {
        const std::size_t taken = serial_.receive(waiting_);
        waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(taken));
        if (taken > 0) {
            hung_ = false;
            hanging_.cancel();
        }
        if (!waiting_.empty() || pollable_ || ended_)
            break;
        read_input();
    }
    if (!waiting_.empty())
        serial_.when_receive_space([this] { deliver(); });
    watch_input();
}

void Console::watch_input() {
    const bool room = waiting_.empty() || (terminal_ && (hung_ || waiting_.size() < waiting_limit));
    if (!pollable_ || ended_ || !room)
        readable_.cancel();
    else if (!readable_.active())
        readable_ = loop_.watch(input_, [this] {
            read_input();
            deliver();
        });
    if (terminal_ && !room && !ended_ && !hanging_.active())
        hanging_ = loop_.after(patience, [this] {
            hanging_.cancel();
            hung_ = true;
            serial_.print("\r\naerate: the guest takes no input; what is typed now is dropped. Ctrl-A x stops it\r\n");
            watch_input();
        });
}

} // namespace aerate
