#include "base/unix_socket.hpp"
#include "control/runtime_directory.hpp"
#include "platform/escape_keys.hpp"
#include "platform/raw_terminal.hpp"
#include "programs/commands.hpp"
#include "programs/flags.hpp"
#include "programs/output.hpp"
#include "programs/running_vm.hpp"

#include <CLI/CLI.hpp>
#include <poll.h>
#include <unistd.h>

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <memory>

namespace aerate {
namespace {

constexpr std::string_view help_text = "\r\nCtrl-A d  leave the console; the virtual machine runs on\r\n"
                                       "Ctrl-A a  send Ctrl-A to the guest\r\n"
                                       "Ctrl-A h  this help\r\n";

Result<> has_a_socket(const control::VmStatus& vm) {
    constexpr std::string_view advice = "a VM started with --detach or --console socket has one to attach to";
    switch (vm.console) {
    case control::ConsoleKind::socket:
        return {};
    case control::ConsoleKind::terminal:
        return fail("the console of {} is the terminal that it was started from; {}", vm.name, advice);
    case control::ConsoleKind::file:
        return fail("the console of {} goes to a file; {}", vm.name, advice);
    case control::ConsoleKind::none:
        break;
    }
    return fail("{} has no console; {}", vm.name, advice);
}

/// Carries bytes between standard input and output and a console's socket.
class Attached {
public:
    Attached(FileDescriptor socket, bool keys)
        : socket_(std::move(socket))
        , keys_wanted_(keys) {}

    enum class End { left, closed, output_gone };
    [[nodiscard]] Result<End> run() {
        while (!end_) {
            // A terminal is read on when the guest takes nothing: its escape keys must work then.
            const bool reads = input_ && (keys_wanted_ || waiting_.empty());
            std::array<pollfd, 2> sources{
                {{socket_.get(), static_cast<short>(POLLIN | (waiting_.empty() ? 0 : POLLOUT)), 0},
                 {reads ? STDIN_FILENO : -1, POLLIN, 0}}};
            if (::poll(sources.data(), sources.size(), -1) < 0 && errno != EINTR)
                return fail_errno("cannot wait for the console");
            if ((sources[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
                show();
            if ((sources[0].revents & POLLOUT) != 0)
                send();
            if (!end_ && sources[1].revents != 0)
                read_keys();
        }
        return *end_;
    }

private:
    void show() {
        std::array<char, 4096> bytes;
        const ssize_t length = ::read(socket_.get(), bytes.data(), bytes.size());
        if (length < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (length <= 0)
            end_ = End::closed;
        else if (!put({bytes.data(), static_cast<std::size_t>(length)}))
            end_ = End::output_gone;
    }
    [[nodiscard]] static bool put(std::string_view text) {
        while (!text.empty()) {
            const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
            if (written < 0 && errno != EINTR)
                return false;
            text.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(written, 0)));
        }
        return true;
    }
    void send() {
        const ssize_t sent = ::send(socket_.get(), waiting_.data(), waiting_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0)
            waiting_.erase(0, static_cast<std::size_t>(sent));
    }
    void read_keys() {
        std::array<char, 256> bytes;
        const ssize_t length = ::read(STDIN_FILENO, bytes.data(), bytes.size());
        if (length < 0 && errno == EINTR)
            return;
        input_ = length > 0;
        for (const char key : std::span(bytes).first(static_cast<std::size_t>(std::max<ssize_t>(length, 0))))
            type(key);
        if (!input_ && keys_wanted_)
            end_ = End::left; // the terminal is gone
        send();
    }
    void type(char key) {
        constexpr std::size_t waiting_limit = 4096;
        if (!keys_wanted_)
            return waiting_.push_back(key);
        const auto [to_guest, command] = keys_.typed(static_cast<std::byte>(key));
        if (to_guest && waiting_.size() < waiting_limit)
            waiting_.push_back(static_cast<char>(*to_guest));
        if (command == EscapeKeys::Command::detach)
            end_ = End::left;
        else if (command && !put(help_text))
            end_ = End::output_gone;
    }

    FileDescriptor socket_;
    bool keys_wanted_;
    bool input_ = true; ///< there may be more
    std::string waiting_;
    EscapeKeys keys_;
    std::optional<End> end_;
};

Result<> attach(const std::string& name) {
    TRY(has_a_socket(TRY(TRY(RunningVm::named(name)).status())));
    Attached attached(TRY(connect_trusted_unix(control::console_path(control::runtime_directory(), name))),
                      ::isatty(STDIN_FILENO) == 1);
    std::signal(SIGPIPE, SIG_IGN);
    if (::isatty(STDIN_FILENO) == 1)
        print_error(fmt::format("attached to {}; Ctrl-A d leaves it, Ctrl-A h for help", name));
    auto terminal = RawTerminal::enter(STDIN_FILENO);
    const auto end = TRY(attached.run());
    const bool raw = std::exchange(terminal, std::nullopt).has_value();
    if (raw)
        print("\n");
    if (end == Attached::End::closed)
        print_error(fmt::format("the console of {} has been closed", name));
    return {};
}

} // namespace

void add_console(CLI::App& app, Command& chosen) {
    CLI::App& command = *app.add_subcommand("console", "Attach this terminal to the console of a VM");
    command.footer("The VM was started with --detach, or with --console socket. Ctrl-A d leaves\n"
                   "it, and it runs on; Ctrl-A h shows all keys. Who attaches later has it then.");
    auto name = std::make_shared<std::string>();
    add_vm_name(command, *name);
    command.callback([name, &chosen] { chosen = [name] { return exit_code(attach(*name)); }; });
}

} // namespace aerate
