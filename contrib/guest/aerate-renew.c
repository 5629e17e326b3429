// For a guest of Aerate that has a vsock and a kernel that does not notice by itself that it was copied (Linux without
// VMGENID; Debian's 6.1 cloud kernel). Asks the host for random bytes and the time of day, has the kernel draw its random
// numbers anew from them, and sets the clock. Then it waits, without asking again: the connection ends when this guest
// has gone on from a snapshot or on another host, and it begins again.
//
//   aerate-renew          for ever; says on standard output what it did
//
// Exit status 0 when there is no such host: no vsock, or nobody who answers at its port. Needs CAP_SYS_ADMIN (the kernel's
// random numbers), CAP_SYS_TIME. What the host says is as src/vsock/renewal.hpp has it.
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/random.h>
#include <linux/vm_sockets.h>

enum { PORT = 49420, SEED = 64, TRIES = 5 };
static const int64_t second = 1000000000, near_enough = 5000000;

struct renewal {
  char name[8];
  uint64_t realtime; // nanoseconds since 1970, little-endian
  unsigned char seed[SEED];
};

static void die(const char *what) {
  fprintf(stderr, "aerate-renew: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return t.tv_sec * second + t.tv_nsec;
}

static int call(void) {
  struct sockaddr_vm host = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = PORT};
  for (int refused = 0;;) {
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&host, sizeof host) == 0)
      return fd;
    int error = errno;
    if (fd >= 0)
      close(fd);
    if (error == EINTR || error == ETIMEDOUT)
      continue;
    // The kernel says the same of a refusal and of a call that was under way when the guest was saved.
    if (error == ECONNRESET && refused++ == 0)
      continue;
    if (error == EAFNOSUPPORT || error == ENODEV || error == ECONNRESET || error == ECONNREFUSED) {
      printf("nobody at the host answers: %s\n", strerror(error));
      exit(0);
    }
    errno = error;
    die("call");
  }
}

// Returns 0 when the connection ends before all of it has come.
static int hear(int fd, struct renewal *renewal) {
  char *into = (char *)renewal;
  for (size_t got = 0; got < sizeof *renewal;) {
    ssize_t more = read(fd, into + got, sizeof *renewal - got);
    if (more < 0 && errno == EINTR)
      continue;
    if (more <= 0)
      return 0;
    got += (size_t)more;
  }
  if (memcmp(renewal->name, "AERATE01", sizeof renewal->name) != 0) {
    fprintf(stderr, "aerate-renew: who answers at the host is not Aerate\n");
    exit(1);
  }
  return 1;
}

static void reseed(const unsigned char *seed) {
  // A struct rand_pool_info, whose own array has no length.
  struct {
    int entropy_count, buf_size;
    unsigned char bytes[SEED];
  } pool = {.entropy_count = SEED * 8, .buf_size = SEED};
  memcpy(pool.bytes, seed, SEED);
  int random = open("/dev/urandom", O_RDWR | O_CLOEXEC);
  if (random < 0)
    die("/dev/urandom");
  if (ioctl(random, RNDADDENTROPY, &pool) != 0)
    die("the kernel takes no random bytes");
  // A kernel that has not begun to draw any will begin with these (ENODATA).
  if (ioctl(random, RNDRESEEDCRNG) != 0 && errno != ENODATA)
    die("the kernel does not draw anew");
  close(random);
  explicit_bzero(&pool, sizeof pool);
}

int main(int count, char **words) {
  (void)words;
  if (count != 1) {
    fprintf(stderr, "usage: aerate-renew\n");
    return 2;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (int unheard = 0; unheard < TRIES; unheard++) {
    // By how much the host's clock is ahead, and how wrong that may be: it was read between the call and the answer.
    int64_t ahead = 0, error = INT64_MAX;
    int fd = -1;
    for (int try = 0; try < TRIES && error > near_enough; try++) {
      if (fd >= 0)
        close(fd);
      struct renewal renewal;
      int64_t before = now();
      fd = call();
      if (!hear(fd, &renewal))
        break; // saved in the midst of it, or the host is gone: the call says which
      int64_t after = now();
      // At once: other programs draw meanwhile.
      reseed(renewal.seed);
      explicit_bzero(renewal.seed, sizeof renewal.seed);
      if ((after - before) / 2 < error) {
        error = (after - before) / 2;
        ahead = (int64_t)le64toh(renewal.realtime) - (before + error);
      }
    }
    if (error != INT64_MAX) {
      unheard = 0;
      // A clock that may be right is left to whoever keeps it (NTP).
      int wrong = llabs(ahead) > error + second / 1000;
      if (wrong) {
        int64_t right = now() + ahead;
        struct timespec t = {.tv_sec = right / second, .tv_nsec = right % second};
        if (clock_settime(CLOCK_REALTIME, &t) != 0)
          die("cannot set the clock");
      }
      printf("renewed; the clock was %+" PRId64 " us from the host's (+-%" PRId64 " us)%s\n", -ahead / 1000, error / 1000,
             wrong ? " and was set" : "");
      char byte;
      while (read(fd, &byte, 1) > 0 || errno == EINTR)
        errno = 0;
    }
    close(fd);
  }
  fprintf(stderr, "aerate-renew: who answers at the host hangs up\n");
  return 1;
}
