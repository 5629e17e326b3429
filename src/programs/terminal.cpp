#include "programs/terminal.hpp"

#include "base/host.hpp"
#include "programs/process.hpp"

#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/signalfd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <string_view>

namespace aerate {
namespace {

constexpr std::string_view enter_screen = "\x1b[?1049h\x1b[?25l";
constexpr std::string_view leave_screen = "\x1b[0m\x1b[?25h\x1b[?1049l";
constexpr std::array ending_signals{SIGINT, SIGTERM, SIGHUP, SIGQUIT};
constexpr std::array crash_signals{SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};

termios saved_settings;
std::atomic<bool> taken = false;

void put(std::string_view text) {
    (void)!::write(STDOUT_FILENO, text.data(), text.size());
}

/// Async-signal-safe.
void give_back() {
    if (!taken.exchange(false))
        return;
    put(leave_screen);
    ::tcsetattr(STDIN_FILENO, TCSANOW, &saved_settings);
}

extern "C" void give_back_and_crash(int signal) {
    give_back();
    // The handler was for once (SA_RESETHAND): now the default action follows.
    ::raise(signal);
}

sigset_t display_signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : ending_signals)
        if (!is_ignored(signal))
            sigaddset(&set, signal);
    sigaddset(&set, SIGWINCH);
    sigaddset(&set, SIGTSTP); // a stopped process would leave the shell in our screen
    return set;
}

} // namespace

Result<Terminal> Terminal::take_over() {
    if (::tcgetattr(STDIN_FILENO, &saved_settings) != 0)
        return fail_errno("cannot read the terminal's settings");
    const sigset_t set = display_signals();
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    FileDescriptor signals = host::descriptor([&] { return ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK); });
    if (!signals.valid())
        return fail_errno("cannot watch for signals");
    for (const int signal : crash_signals) {
        struct sigaction action{};
        action.sa_handler = give_back_and_crash;
        action.sa_flags = static_cast<int>(SA_RESETHAND);
        ::sigaction(signal, &action, nullptr);
    }
    termios settings = saved_settings;
    settings.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    if (::tcsetattr(STDIN_FILENO, TCSANOW, &settings) != 0)
        return fail_errno("cannot change the terminal's settings");
    taken = true;
    std::atexit(give_back);
    put(enter_screen);
    return Terminal(std::move(signals));
}

Terminal::Terminal(Terminal&& other) noexcept = default;

Terminal::~Terminal() {
    if (signals_.valid())
        give_back();
}

Terminal::Size Terminal::size() const {
    winsize size{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
        return {80, 24};
    return {size.ws_col, size.ws_row};
}

Terminal::Event Terminal::wait(std::chrono::steady_clock::time_point until) {
    for (;;) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
        std::array<pollfd, 2> sources{{{STDIN_FILENO, POLLIN, 0}, {signals_.get(), POLLIN, 0}}};
        if (left <= 0 || ::poll(sources.data(), sources.size(), static_cast<int>(left)) == 0)
            return Event::timeout;
        if (sources[1].revents != 0) {
            signalfd_siginfo info;
            if (::read(signals_.get(), &info, sizeof(info)) != sizeof(info) || info.ssi_signo == SIGTSTP)
                continue;
            return info.ssi_signo == SIGWINCH ? Event::resized : Event::quit;
        }
        if (sources[0].revents != 0) {
            char key = 0;
            if (::read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q')
                return Event::quit;
        }
    }
}

} // namespace aerate
