// outside SECONDS TTY QEMU ARGS...   starts QEMU with file descriptor 3 as its end of the link (see link.h), passes
// this process's standard streams through it, and ends QEMU as soon as the command's exit status is here. What QEMU
// itself has to say goes to descriptor 4. Exit status: the command's; 124 when SECONDS have passed; 125 when the
// machine ended without one.
#include "link.h"

#include <math.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <time.h>

#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

// QEMU's emulation of VMRUN notes a virtual interrupt in cpu->interrupt_request without its lock (helper_vmrun in
// target/i386/tcg/sysemu/svm_helper.c), and so can undo that another thread has just noted an interrupt there. The local
// APIC keeps it in its IRR, and nobody looks before the next interrupt comes. Where that was the timer of the only
// processor, none would: in the machine nothing that waits would ever end. Seen with QEMU 7.2 (IRR 236, interrupts
// enabled, nothing in service), and cured by one key press.
static const double nudge_period = 0.05;

static volatile sig_atomic_t resized;
static void on_resize(int signal) {
    (void)signal;
    resized = 1;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static pid_t start(char** argv, int link) {
    pid_t parent = getpid(), child = fork();
    if (child != 0)
        return child;
    // However this process ends, even by SIGKILL, QEMU must not outlive it. And Ctrl-C is not for QEMU.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(125);
    setsid();
    int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(4, 1);
    dup2(4, 2);
    close(4);
    dup2(fcntl(link, F_DUPFD_CLOEXEC, 10), 3); // by way of 10: link may be 3 and close on exec
    execvp(argv[0], argv);
    perror(argv[0]);
    _exit(125);
}

int main(int argc, char** argv) {
    if (argc < 4)
        return 125;
    double deadline = atof(argv[1]) > 0 ? now() + atof(argv[1]) : HUGE_VAL; // 0: no limit
    int tty = atoi(argv[2]), ends[2];
    prctl(PR_SET_PDEATHSIG, SIGKILL); // for a killed testbed/run
    signal(SIGPIPE, SIG_IGN);
    fcntl(4, F_SETFD, FD_CLOEXEC);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return 125;
    pid_t qemu = start(argv + 3, ends[1]);
    close(ends[1]);
    int link = ends[0];
    fcntl(link, F_SETFL, O_NONBLOCK);

    if (tty) {
        struct termios raw;
        struct sigaction action = {.sa_handler = on_resize};
        sigaction(SIGWINCH, &action, NULL);
        resized = 1;
        if (tcgetattr(0, &raw) == 0) {
            cfmakeraw(&raw);
            tcsetattr(0, TCSANOW, &raw); // testbed/run puts it back
        }
    }

    static struct inbox in;
    static struct frame out;
    struct outbox pending = {0};
    int input_open = 1, status = -1;
    double next_nudge = now();
    while (status < 0) {
        if (pending.left == 0 && now() >= next_nudge) {
            next_nudge = now() + nudge_period;
            out.type = FRAME_NUDGE;
            out.length = 0;
            pending = (struct outbox){(char*)&out, FRAME_HEAD};
        }
        if (resized && pending.left == 0) {
            struct winsize window = {0};
            resized = 0;
            if (ioctl(0, TIOCGWINSZ, &window) == 0) {
                out.type = FRAME_WINDOW;
                out.length = sizeof window;
                memcpy(out.bytes, &window, sizeof window);
                pending = (struct outbox){(char*)&out, FRAME_HEAD + out.length};
            }
        }
        struct pollfd polled[2] = {{.fd = link, .events = (short)(POLLIN | (pending.left ? POLLOUT : 0))},
                                   {.fd = input_open && pending.left == 0 ? 0 : -1, .events = POLLIN}};
        double left = deadline - now();
        if (left <= 0) {
            fprintf(stderr, "testbed: %s s have passed: stopping the machine\n", argv[1]);
            status = 124;
            break;
        }
        double wait = pending.left || left < nudge_period ? left : nudge_period;
        if (poll(polled, 2, wait > 3600 ? 3600000 : (int)(wait * 1000) + 1) < 0)
            continue;

        if (polled[1].revents) {
            ssize_t n = read(0, out.bytes, FRAME_MAX);
            if (n >= 0 || errno != EINTR) {
                if (n <= 0)
                    input_open = 0;
                out.type = FRAME_STDIN;
                out.length = (uint16_t)(n > 0 ? n : 0);
                pending = (struct outbox){(char*)&out, FRAME_HEAD + out.length};
            }
        }
        if (pending.left && drain(link, &pending) < 0)
            break;
        if (!(polled[0].revents & (POLLIN | POLLHUP | POLLERR)))
            continue;
        int got = receive(link, &in);
        if (got < 0)
            break;
        if (got == 0)
            continue;
        in.have = 0;
        if (in.frame.type == FRAME_STATUS) {
            status = (unsigned char)in.frame.bytes[0];
        } else if (write_all(in.frame.type == FRAME_STDERR ? 2 : 1, in.frame.bytes, in.frame.length) < 0) {
            status = 141; // our reader has gone: what a shell reports for SIGPIPE
        }
    }
    kill(qemu, SIGKILL);
    waitpid(qemu, NULL, 0);
    return status < 0 ? 125 : status;
}
