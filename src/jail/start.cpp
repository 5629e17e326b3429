#include "jail/start.hpp"

#include "base/host.hpp"

#include <sched.h>
#include <unistd.h>

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <string>

namespace aerate::jail {
namespace {

constexpr char go = 'g';
constexpr char executes = 'x'; // what follows is why it could not

ssize_t receive(int fd, void* into, std::size_t size) {
    ssize_t length = 0;
    do
        length = ::recv(fd, into, size, 0);
    while (length < 0 && errno == EINTR);
    return length;
}

} // namespace

Result<Start> Start::fork(bool new_pid_namespace) {
    std::array<int, 2> ends{-1, -1};
    FileDescriptor ours = host::descriptor(
        [&] { return ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0 ? ends[0] : -1; });
    FileDescriptor theirs(ends[1]);
    if (!ours.valid())
        return fail_errno("cannot have a pair of sockets");
    if (new_pid_namespace && ::unshare(CLONE_NEWPID) != 0)
        return fail_errno("cannot have a namespace of processes");
    const pid_t pid = host::refuses(host::Resource::thread) ? -1 : ::fork();
    if (pid < 0)
        return fail_errno("cannot have one");
    return Start(pid, std::move(pid == 0 ? theirs : ours));
}

Result<> Start::let_go() {
    return ::send(other_.get(), &go, 1, MSG_NOSIGNAL) == 1 ? Result<>() : fail_errno("it has ended");
}

Result<pid_t> Start::wait() {
    std::string said;
    std::array<char, 1024> piece{};
    for (ssize_t length = 0; (length = receive(other_.get(), piece.data(), piece.size())) > 0;)
        said.append(piece.data(), static_cast<std::size_t>(length));
    if (said == std::string(1, executes))
        return pid_;
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    if (said.starts_with(executes))
        said.erase(0, 1);
    return said.empty() ? fail("the jail's process was ended before its program ran") : fail("{}", said);
}

Result<> Start::wait_for_parent() {
    // Until the privileges are dropped, which resets it (linux/kernel/cred.c, commit_creds()): see stay_with_parent().
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        return fail_errno("cannot end with the launcher");
    char word = 0;
    if (receive(other_.get(), &word, 1) != 1)
        return fail("the launcher has ended");
    return {};
}

Result<> Start::stay_with_parent() {
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        return fail_errno("cannot end with the launcher");
    char word = 0; // one that ended in between is known by its socket
    return ::recv(other_.get(), &word, 1, MSG_DONTWAIT | MSG_PEEK) == 0 ? fail("the launcher has ended") : Result<>();
}

void Start::about_to_execute() {
    ::prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
    (void)::send(other_.get(), &executes, 1, MSG_NOSIGNAL); // nobody waits any more: then this is one's own start
}

void Start::give_up(const Error& error) {
    (void)::send(other_.get(), error.message.data(), error.message.size(), MSG_NOSIGNAL);
    ::_exit(1);
}

} // namespace aerate::jail
