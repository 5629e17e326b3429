// What time it is by VMClock's page, for guests whose kernel has no driver for it (Linux before 6.13): reads the page from
// /dev/mem, at the address given, and the TSC, and reckons as ptp_vmclock.c does.
//
//   vmclock ADDRESS      prints the status, seconds since 1970, disruption_marker and vm_generation_counter, and last what
//                        CLOCK_REALTIME has at the same moment
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <x86intrin.h>

static const volatile unsigned char *page;

static uint64_t at(unsigned offset) {
  return *(const volatile uint64_t *)(page + offset);
}

int main(int count, char **words) {
  int memory = count == 2 ? open("/dev/mem", O_RDONLY) : -1;
  page = memory < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ, MAP_SHARED, memory, (off_t)strtoull(words[1], NULL, 0));
  if (page == MAP_FAILED || memcmp((const void *)page, "VCLK", 4) != 0) {
    perror("vmclock: no page");
    return 1;
  }
  unsigned __int128 time;
  struct timespec real;
  uint32_t sequence;
  do {
    sequence = *(const volatile uint32_t *)(page + 12) & ~1U;
    clock_gettime(CLOCK_REALTIME, &real);
    uint64_t passed = __rdtsc() - at(40);
    time = ((unsigned __int128)passed * at(48) >> page[39]) + at(80) + ((unsigned __int128)at(72) << 64);
  } while (sequence != *(const volatile uint32_t *)(page + 12));
  uint64_t seconds = (uint64_t)(time >> 64);
  uint64_t nanoseconds = (uint64_t)((unsigned __int128)(uint64_t)time * 1000000000 >> 64);
  printf("status %d time %llu.%09llu disruptions %llu generations %llu realtime %lld.%09ld\n", page[34], (unsigned long long)seconds,
         (unsigned long long)nanoseconds, (unsigned long long)at(16), (unsigned long long)at(104), (long long)real.tv_sec, real.tv_nsec);
  return 0;
}
