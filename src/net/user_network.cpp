#include "net/user_network.hpp"

#include "base/host.hpp"
#include "base/log.hpp"
#include "net/stream_socket.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <utility>

namespace aerate::net {
namespace {

constexpr const char* program = "passt";

/// A stream socket whose other end is a process of ours.
class UserNetwork final : public BackEnd {
public:
    UserNetwork(std::shared_ptr<StreamSocket> socket, pid_t pid)
        : socket_(std::move(socket))
        , pid_(pid) {}
    /// It would end by itself, since its socket closes, but not before this. Whoever has the user that it runs as may
    /// have stopped it, and may do so again: it is not waited for for ever. SIGKILL is not ours to send: a monitor that
    /// a guest has taken over could end any process with it.
    ~UserNetwork() override {
        socket_.reset();
        (void)::kill(pid_, SIGTERM);
        (void)::kill(pid_, SIGCONT);
        const FileDescriptor process = host::descriptor([this] { return ::syscall(SYS_pidfd_open, pid_, 0U); });
        pollfd ended{.fd = process.get(), .events = POLLIN, .revents = 0};
        constexpr int patience_ms = 2000;
        if (process.valid() && ::poll(&ended, 1, patience_ms) != 1)
            log::warning("{} does not end, process {}", program, pid_);
        (void)::waitpid(pid_, nullptr, WNOHANG);
    }
    UserNetwork(const UserNetwork&) = delete;
    UserNetwork& operator=(const UserNetwork&) = delete;

    [[nodiscard]] std::string label() const override { return socket_->label(); }
    [[nodiscard]] bool offloads() const override { return socket_->offloads(); }
    void set_guest_offloads(GuestOffloads offloads) override { socket_->set_guest_offloads(offloads); }
    [[nodiscard]] int readable() const override { return socket_->readable(); }
    [[nodiscard]] int writable() const override { return socket_->writable(); }
    [[nodiscard]] Received receive(std::span<const iovec> pieces) override { return socket_->receive(pieces); }
    [[nodiscard]] Outcome send(std::span<const iovec> pieces) override { return socket_->send(pieces); }
    [[nodiscard]] Outcome flush() override { return socket_->flush(); }

private:
    std::shared_ptr<StreamSocket> socket_;
    pid_t pid_;
};

/// Fails if the port is taken: passt would end with a message of its own, and leave the guest without a network.
Result<> check_free(const ForwardedPort& port) {
    const bool tcp = port.protocol == ForwardedPort::Protocol::tcp;
    const FileDescriptor probe =
        host::descriptor([tcp] { return ::socket(AF_INET, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0); });
    const int on = 1;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port.host);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (!probe.valid() || (tcp && ::setsockopt(probe.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0) ||
        ::bind(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
        return fail_errno("cannot forward the {} port {} of this host", tcp ? "TCP" : "UDP", port.host);
    return {};
}

std::vector<std::string> arguments_for(const std::vector<ForwardedPort>& ports, int fd) {
    std::vector<std::string> arguments{program,    "--foreground", "--one-off",       "--quiet",
                                       "--stderr", "--fd",         std::to_string(fd)};
    for (const ForwardedPort& port : ports) {
        arguments.emplace_back(port.protocol == ForwardedPort::Protocol::tcp ? "-t" : "-u");
        arguments.push_back(fmt::format("127.0.0.1/{}:{}", port.host, port.guest));
    }
    return arguments;
}

/// What it inherits is the socket and our standard error; signals are as they are by default.
Result<pid_t> spawn(const std::vector<ForwardedPort>& ports, const FileDescriptor& socket) {
    constexpr int inherited = 3;
    auto arguments = arguments_for(ports, inherited);
    std::vector<char*> argv;
    argv.reserve(arguments.size() + 1);
    for (std::string& argument : arguments)
        argv.push_back(argument.data());
    argv.push_back(nullptr);

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&actions, STDIN_FILENO, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, socket.get(), inherited);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    // A group of its own: what the terminal sends to ours is not for it.
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    pid_t pid = -1;
    const int failed = host::refuses(host::Resource::thread)
                           ? EAGAIN
                           : ::posix_spawnp(&pid, program, &actions, &attributes, argv.data(), environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (failed == ENOENT)
        return fail("user networking needs the program passt: apt-get install passt");
    if (failed != 0)
        return std::unexpected(Error{fmt::format("cannot start {}: {}", program, describe_errno(failed)), failed});
    return pid;
}

} // namespace

Result<std::shared_ptr<BackEnd>> start_user_network(const std::vector<ForwardedPort>& ports) {
    for (const ForwardedPort& port : ports)
        TRY(check_free(port));
    std::array<int, 2> ends{-1, -1};
    FileDescriptor ours = host::descriptor(
        [&ends] { return ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0 ? ends[0] : -1; });
    const FileDescriptor theirs(ends[1]);
    if (!ours.valid())
        return fail_errno("cannot have a socket to {}", program);
    auto socket = TRY(StreamSocket::adopt(std::move(ours), "passt"));
    const pid_t pid = TRY(spawn(ports, theirs));
    return std::make_shared<UserNetwork>(std::move(socket), pid);
}

} // namespace aerate::net
