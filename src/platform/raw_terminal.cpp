#include "platform/raw_terminal.hpp"

#include "base/check.hpp"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <utility>

namespace aerate {
namespace {

// Everything here is read by signal handlers, so it is static, and published by `active`.
std::atomic<bool> active{false};
int terminal = -1;
termios original_mode{};
termios raw_mode{};

// The ways to die of a signal. Whatever was installed before us still gets its turn.
constexpr std::array deadly_signals = {SIGINT,  SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGABRT,
                                       SIGSEGV, SIGBUS,  SIGILL, SIGFPE,  SIGSYS};
std::array<struct sigaction, deadly_signals.size()> earlier_actions{};
struct sigaction earlier_continue{};

bool in_foreground(int fd) {
    return ::tcgetpgrp(fd) == ::getpgrp();
}

// tcsetattr() stops a background process with SIGTTOU unless that is blocked.
void set_mode(const termios& mode) {
    sigset_t stop_on_output;
    sigset_t before;
    ::sigemptyset(&stop_on_output);
    ::sigaddset(&stop_on_output, SIGTTOU);
    ::pthread_sigmask(SIG_BLOCK, &stop_on_output, &before);
    ::tcsetattr(terminal, TCSANOW, &mode);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void restore_and_pass_on(int signal) {
    const int error = errno;
    RawTerminal::restore();
    for (std::size_t i = 0; i < deadly_signals.size(); ++i) {
        if (deadly_signals[i] == signal)
            ::sigaction(signal, &earlier_actions[i], nullptr);
    }
    // It is blocked while we handle it, so the earlier action gets it when we return.
    ::raise(signal);
    errno = error;
}

// After `kill -STOP` and `fg` the shell has put its own mode back.
void enter_again(int) {
    const int error = errno;
    if (active.load() && in_foreground(terminal))
        set_mode(raw_mode);
    errno = error;
}

void install_handlers() {
    struct sigaction action{};
    ::sigfillset(&action.sa_mask);
    action.sa_flags = SA_RESTART;
    action.sa_handler = restore_and_pass_on;
    for (std::size_t i = 0; i < deadly_signals.size(); ++i) {
        ::sigaction(deadly_signals[i], nullptr, &earlier_actions[i]);
        if (earlier_actions[i].sa_handler != SIG_IGN)
            ::sigaction(deadly_signals[i], &action, nullptr);
    }
    action.sa_handler = enter_again;
    ::sigaction(SIGCONT, &action, &earlier_continue);
}

void put_back(int signal, void (*ours)(int), const struct sigaction& earlier) {
    struct sigaction current{};
    ::sigaction(signal, nullptr, &current);
    if (current.sa_handler == ours)
        ::sigaction(signal, &earlier, nullptr);
}

void remove_handlers() {
    for (std::size_t i = 0; i < deadly_signals.size(); ++i)
        put_back(deadly_signals[i], restore_and_pass_on, earlier_actions[i]);
    put_back(SIGCONT, enter_again, earlier_continue);
}

} // namespace

std::optional<RawTerminal> RawTerminal::enter(int fd) {
    CHECK(!active.load());
    if (::isatty(fd) != 1 || !in_foreground(fd) || ::tcgetattr(fd, &original_mode) != 0)
        return std::nullopt;
    terminal = fd;
    raw_mode = original_mode;
    ::cfmakeraw(&raw_mode);

    [[maybe_unused]] static const int registered = std::atexit(RawTerminal::restore);
    install_handlers();
    active.store(true);
    set_mode(raw_mode);
    return RawTerminal();
}

RawTerminal::RawTerminal(RawTerminal&& other) noexcept
    : owner_(std::exchange(other.owner_, false)) {}

RawTerminal& RawTerminal::operator=(RawTerminal&& other) noexcept {
    std::swap(owner_, other.owner_);
    return *this;
}

RawTerminal::~RawTerminal() {
    if (!owner_)
        return;
    restore();
    remove_handlers();
}

void RawTerminal::restore() {
    if (active.exchange(false))
        set_mode(original_mode);
}

} // namespace aerate
