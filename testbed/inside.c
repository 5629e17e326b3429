// inside PORT ROOT JOB TTY   runs the command of the file JOB in the file tree ROOT and carries its standard streams
// over PORT (see link.h). JOB is zero-terminated strings: working directory, number of variables, variables, arguments.
#include "link.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

static char job[1 << 20];
static char* words[65536];

static void run_job(const char* root, size_t size) {
    size_t count = 0;
    for (char* at = job; at < job + size && count < 65535; at += strlen(at) + 1)
        words[count++] = at;
    if (count < 3)
        _exit(125);
    char **environment = words + 2, **arguments = environment + atoi(words[1]);
    // execvp() looks for a program by the path given here, not by the one of this process.
    clearenv();
    for (char** variable = environment; variable < arguments; variable++)
        putenv(*variable);
    // The tree is the root of a mount namespace, not of a chroot, in which the kernel refuses user namespaces.
    if (unshare(CLONE_NEWNS) != 0 || chdir(root) != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0)
        _exit(125);
    if (chdir(words[0]) != 0 && chdir("/") != 0)
        _exit(125);
    execvp(arguments[0], arguments);
    int status = errno == ENOENT ? 127 : 126;
    perror(arguments[0]);
    _exit(status);
}

static int send_bytes(int port, uint8_t type, const void* bytes, size_t size) {
    static struct frame frame;
    frame.type = type;
    frame.length = (uint16_t)size;
    memcpy(frame.bytes, bytes, size);
    return write_all(port, &frame, FRAME_HEAD + size);
}

// Passes on what is there to be read. Returns 0 when there will be no more.
static int forward(int port, uint8_t type, int fd) {
    static char bytes[FRAME_MAX];
    for (;;) {
        ssize_t n = read(fd, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 1;
        if (n <= 0)
            return 0;
        send_bytes(port, type, bytes, (size_t)n);
    }
}

int main(int argc, char** argv) {
    if (argc != 5)
        return 125;
    int port = open(argv[1], O_RDWR | O_CLOEXEC), file = open(argv[3], O_RDONLY | O_CLOEXEC), tty = atoi(argv[4]);
    if (port < 0 || file < 0)
        return 125;
    ssize_t size = read(file, job, sizeof job - 1);
    signal(SIGPIPE, SIG_IGN);

    // to: the command's standard input; from[]: its output and errors.
    int to, from[2] = {-1, -1};
    pid_t command;
    if (tty) {
        command = forkpty(&from[0], NULL, NULL, NULL);
        to = dup(from[0]);
    } else {
        int in[2], out[2], err[2];
        if (pipe(in) || pipe(out) || pipe(err))
            return 125;
        command = fork();
        if (command == 0) {
            setsid();
            dup2(in[0], 0);
            dup2(out[1], 1);
            dup2(err[1], 2);
            for (int fd = 3; fd < 16; fd++)
                close(fd);
        }
        close(in[0]);
        close(out[1]);
        close(err[1]);
        to = in[1], from[0] = out[0], from[1] = err[0];
    }
    if (command == 0) {
        signal(SIGPIPE, SIG_DFL);
        run_job(argv[2], (size_t)size);
    }
    fcntl(to, F_SETFL, O_NONBLOCK);
    fcntl(from[0], F_SETFL, O_NONBLOCK);
    if (from[1] >= 0)
        fcntl(from[1], F_SETFL, O_NONBLOCK);

    // Until the command itself has ended: a daemon that it leaves behind may hold the pipes open for ever.
    static struct inbox in;
    struct outbox pending = {0};
    int ended = pidfd_open(command, 0), running = 1;
    while (running) {
        struct pollfd polled[5] = {{.fd = from[0], .events = POLLIN},
                                   {.fd = from[1], .events = POLLIN},
                                   {.fd = pending.left ? -1 : port, .events = POLLIN},
                                   {.fd = pending.left ? to : -1, .events = POLLOUT},
                                   {.fd = ended, .events = POLLIN}};
        if (poll(polled, 5, -1) < 0)
            continue;
        if (polled[4].revents)
            running = 0;
        for (int i = 0; i < 2; i++)
            if (from[i] >= 0 && (polled[i].revents || !running) &&
                !forward(port, i ? FRAME_STDERR : FRAME_STDOUT, from[i]))
                from[i] = -1;
        if (polled[2].revents && receive(port, &in) == 1) {
            in.have = 0;
            if (in.frame.type == FRAME_WINDOW) {
                ioctl(to, TIOCSWINSZ, in.frame.bytes);
            } else if (in.frame.type == FRAME_NUDGE) {
                continue;
            } else if (in.frame.length > 0 && to >= 0) {
                pending = (struct outbox){in.frame.bytes, in.frame.length};
            } else if (in.frame.length == 0 && to >= 0 && !tty) {
                close(to);
                to = -1;
            }
        }
        if (pending.left && drain(to, &pending) < 0) {
            pending.left = 0; // the command closed its input: the rest is for nobody
            close(to);
            to = -1;
        }
    }
    int status = 0;
    while (waitpid(command, &status, 0) < 0 && errno == EINTR) {
    }
    sync(); // shared directories
    unsigned char code = (unsigned char)(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return send_bytes(port, FRAME_STATUS, &code, 1) < 0;
}
