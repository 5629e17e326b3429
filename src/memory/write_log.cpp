#include "memory/write_log.hpp"

#include "base/check.hpp"

#include <unistd.h>

#include <linux/membarrier.h>
#include <sys/syscall.h>

namespace aerate {
namespace {

// A full memory barrier on every running thread of this process, so that record() needs none: a writer whose load of
// active_ came before it has its bytes visible after it (membarrier(2); expedited since Linux 4.14). Failing would mean
// that a filter of our own forbids the call, and lost writes later.
void barrier_on_all_threads() {
    CHECK(::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0);
    CHECK(::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0);
}

} // namespace

void WriteLog::start() {
    bits_.clear_all();
    active_.store(true, std::memory_order_seq_cst);
    barrier_on_all_threads();
}

void WriteLog::stop() {
    active_.store(false, std::memory_order_release);
}

} // namespace aerate
