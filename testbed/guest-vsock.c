// The guest's end of a vsock, where busybox has none. A static program without more than the C library.
//
//   vsock echo PORT         serves for ever: each connection gets its own bytes back, until it ends
//   vsock call PORT         calls the host: standard input goes there, what comes back to standard output; half-closes
//   vsock hold PORT FILE    calls the host, writes to FILE how it ended ("reset", "end") when it does
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

static char buffer[65536];

static void die(const char *what) {
  fprintf(stderr, "vsock: %s: %s\n", what, strerror(errno));
  exit(1);
}

static struct sockaddr_vm address(unsigned cid, const char *port) {
  struct sockaddr_vm vm = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = (unsigned)strtoul(port, NULL, 10)};
  return vm;
}

// Returns 0 at the end, -1 with errno set on an error.
static int copy(int from, int to) {
  ssize_t got = read(from, buffer, sizeof buffer);
  for (ssize_t done = 0; done < got;) {
    ssize_t put = write(to, buffer + done, (size_t)(got - done));
    if (put < 0)
      return -1;
    done += put;
  }
  return got > 0 ? 1 : (int)got;
}

static void echo(const char *port) {
  struct sockaddr_vm vm = address(VMADDR_CID_ANY, port);
  int listener = socket(AF_VSOCK, SOCK_STREAM, 0);
  if (listener < 0 || bind(listener, (struct sockaddr *)&vm, sizeof vm) != 0 || listen(listener, 128) != 0)
    die("listen");
  signal(SIGCHLD, SIG_IGN);
  puts("listening");
  fflush(stdout);
  for (;;) {
    int peer = accept(listener, NULL, NULL);
    if (peer < 0 || fork() != 0) {
      close(peer);
      continue;
    }
    close(listener);
    while (copy(peer, peer) > 0) {
    }
    _exit(0);
  }
}

static int call(const char *port) {
  struct sockaddr_vm vm = address(VMADDR_CID_HOST, port);
  int host = socket(AF_VSOCK, SOCK_STREAM, 0);
  if (host < 0 || connect(host, (struct sockaddr *)&vm, sizeof vm) != 0)
    die("connect");
  return host;
}

int main(int count, char **words) {
  if (count == 3 && strcmp(words[1], "echo") == 0)
    echo(words[2]);
  if (count == 4 && strcmp(words[1], "hold") == 0) {
    int host = call(words[2]);
    if (daemon(1, 1) != 0)
      die("daemon");
    int end = 1;
    while (end > 0)
      end = (int)read(host, buffer, sizeof buffer);
    FILE *file = fopen(words[3], "w");
    if (file == NULL)
      die(words[3]);
    fprintf(file, "%s\n", end == 0 ? "end" : errno == ECONNRESET ? "reset" : strerror(errno));
    return fclose(file);
  }
  if (count != 3 || strcmp(words[1], "call") != 0) {
    fprintf(stderr, "usage: vsock echo PORT | call PORT | hold PORT FILE\n");
    return 2;
  }
  int host = call(words[2]);
  struct pollfd ends[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = host, .events = POLLIN}};
  for (;;) {
    if (poll(ends, 2, -1) < 0)
      die("poll");
    if (ends[0].revents != 0) {
      int more = copy(STDIN_FILENO, host);
      if (more < 0)
        die("send");
      if (more == 0) {
        ends[0].fd = -1;
        shutdown(host, SHUT_WR);
      }
    }
    if (ends[1].revents != 0) {
      int more = copy(host, STDOUT_FILENO);
      if (more < 0)
        die("receive");
      if (more == 0)
        return 0;
    }
  }
}
