#include "programs/detach.hpp"

#include "base/fd.hpp"
#include "base/host.hpp"
#include "base/printable.hpp"
#include "control/listening_socket.hpp"
#include "control/runtime_directory.hpp"
#include "programs/commands.hpp"
#include "programs/output.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <memory>
#include <utility>

namespace aerate {
namespace {

Result<> replace(int fd, const FileDescriptor& by) {
    return ::dup2(by.get(), fd) == fd ? Result<>() : fail_errno("cannot replace file descriptor {}", fd);
}

/// The log begins anew with each VM of its name. That of one that runs is left alone.
Result<> leave_terminal(const std::string& name) {
    if (::setsid() < 0)
        return fail_errno("cannot have a session of its own");
    const auto directory = control::runtime_directory();
    TRY(control::secure_directory(directory));
    if (control::answers(control::socket_path(directory, name)))
        return fail("a VM named {} is already running; choose another --name or stop it", name);
    const std::string path = control::log_path(directory, name);
    const FileDescriptor log = host::descriptor(
        [&] { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600); });
    if (!log.valid())
        return fail_errno("cannot open the log {}", path);
    const FileDescriptor nothing = host::descriptor([] { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); });
    if (!nothing.valid())
        return fail_errno("cannot open /dev/null");
    TRY(replace(STDIN_FILENO, nothing));
    TRY(replace(STDOUT_FILENO, log));
    return replace(STDERR_FILENO, log);
}

// What the child says in the pipe.
constexpr char log_is_open = 'l';
constexpr char vm_runs = 'r';

Result<> say(const FileDescriptor& pipe, char word) {
    return ::write(pipe.get(), &word, 1) == 1 ? Result<>() : fail_errno("nobody waits for this VM any more");
}

int work_detached(const std::string& name, FileDescriptor started, std::move_only_function<int(Started)> work) {
    std::signal(SIGPIPE, SIG_IGN); // who waits may be gone: the write below says so
    auto left = leave_terminal(name);
    if (left)
        left = say(started, log_is_open);
    if (!left)
        return report(left.error());
    return work([started = std::move(started)]() mutable {
        const FileDescriptor once = std::move(started);
        return say(once, vm_runs);
    });
}

/// The log's latest, as far as a screen takes it.
std::string latest_of(const std::string& path) {
    const FileDescriptor log =
        host::descriptor([&] { return ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC); });
    std::array<char, 4096> text{};
    const off_t size = log.valid() ? ::lseek(log.get(), 0, SEEK_END) : 0;
    const ssize_t length = log.valid() ? ::pread(log.get(), text.data(), text.size(),
                                                 std::max<off_t>(0, size - static_cast<off_t>(text.size())))
                                       : 0;
    std::string latest(text.data(), static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
    while (latest.ends_with('\n'))
        latest.pop_back();
    return latest;
}

/// Returns the last word in the pipe: the first that says that the VM runs, or the one before its end.
char last_word(const FileDescriptor& pipe) {
    char word = 0;
    for (;;) {
        char next = 0;
        const ssize_t length = ::read(pipe.get(), &next, 1);
        if (length < 0 && errno == EINTR)
            continue;
        if (length != 1)
            return word;
        word = next;
        if (word == vm_runs)
            return word;
    }
}

int say_why_not(const std::string& name, pid_t pid, bool log_was_opened) {
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    const std::string path = control::log_path(control::runtime_directory(), name);
    const std::string latest = latest_of(path);
    if (WIFSIGNALED(status))
        print_error(fmt::format("{} was ended by SIG{} before it ran", name, ::sigabbrev_np(WTERMSIG(status))));
    if (log_was_opened && !latest.empty())
        print_error(fmt::format("{} did not start; {} says:\n{}", name, path, printable_lines(latest)));
    return WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1;
}

} // namespace

int run_detached(std::string name, std::string_view prefix, std::move_only_function<int(Started)> work,
                 const std::function<std::string(const std::string& name, pid_t)>& told) {
    if (!name.empty())
        if (auto valid = control::validate_vm_name(name); !valid)
            return wrong_usage(valid.error());
    std::array<int, 2> ends{-1, -1};
    FileDescriptor ours = host::descriptor([&] { return ::pipe2(ends.data(), O_CLOEXEC) == 0 ? ends[0] : -1; });
    FileDescriptor theirs(ends[1]);
    if (!ours.valid())
        return report({"cannot have a pipe: " + describe_errno(errno), errno});
    std::fflush(nullptr);
    const pid_t pid = host::refuses(host::Resource::thread) ? -1 : ::fork();
    if (pid < 0)
        return report({"cannot have a process for the VM: " + describe_errno(errno), errno});
    if (name.empty())
        name = fmt::format("{}-{}", prefix, pid == 0 ? ::getpid() : pid);
    if (pid == 0) {
        ours.close();
        return work_detached(name, std::move(theirs), std::move(work));
    }
    theirs.close();
    const char word = last_word(ours);
    if (word != vm_runs)
        return say_why_not(name, pid, word == log_is_open);
    print("{}\n", told(name, pid));
    return 0;
}

} // namespace aerate
