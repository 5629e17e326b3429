#include "memory/file_loss.hpp"

#include "base/units.hpp"

#include <unistd.h>

#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>

namespace aerate {
namespace {

// Read by a signal handler: atomics, and no memory that could go. The handler's own mapping is in the table for as long
// as it can be touched. An entry may be given to another mapping while it is looked at: code that sees the new start
// sees that the old end is gone.
struct WatchedMapping {
    std::atomic<std::uintptr_t> start{0};
    std::atomic<std::uintptr_t> end{0}; ///< 0: not in use; written last, cleared first
    std::atomic<bool> lost{false};
    std::atomic<bool> page_alone{false};
    std::atomic<int> event{0}; ///< an entry of zeros, so that the table takes no room in the program
};

std::array<WatchedMapping, FileLossWatch::mappings_max> watched_mappings;
std::mutex watched_mappings_mutex; ///< of those who add

/// Makes one system call and uses no state of libc's: as safe in a signal handler as write().
bool put_zeros(std::uintptr_t start, std::size_t length) {
    auto* const place = reinterpret_cast<void*>(start); // NOLINT(performance-no-int-to-ptr)
    return ::mmap(place, length, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                  0) != MAP_FAILED;
}

void replace_lost_mapping(int number, siginfo_t* info, void*) {
    const int saved = errno;
    const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
    for (WatchedMapping& mapping : watched_mappings) {
        const std::uintptr_t end = mapping.end.load(std::memory_order_acquire);
        const std::uintptr_t start = mapping.start.load(std::memory_order_acquire);
        if (address < start || address >= end || mapping.end.load(std::memory_order_acquire) != end)
            continue;
        mapping.lost.store(true, std::memory_order_relaxed);
        if (const int event = mapping.event.load(std::memory_order_relaxed); event >= 0) {
            const std::uint64_t one = 1;
            (void)!::write(event, &one, sizeof(one));
        }
        const std::uintptr_t page = address / page_size.value * page_size.value;
        // A page alone splits the mapping, for which the kernel may have no room left.
        const bool replaced =
            (mapping.page_alone.load(std::memory_order_relaxed) && put_zeros(page, page_size.value)) ||
            put_zeros(start, end - start);
        errno = saved;
        if (replaced)
            return;
        break;
    }
    // Not ours: the access is made again, and ends the process as it would have.
    std::signal(number, SIG_DFL);
}

Result<> install_bus_error_handler() {
    struct sigaction action{};
    action.sa_sigaction = replace_lost_mapping;
    action.sa_flags = SA_SIGINFO;
    sigemptyset(&action.sa_mask);
    if (::sigaction(SIGBUS, &action, nullptr) != 0)
        return fail_errno("cannot install a handler for SIGBUS");
    return {};
}

} // namespace

Result<FileLossWatch> FileLossWatch::start(std::span<std::byte> mapping, StandIn stand_in, int event) {
    const std::scoped_lock lock(watched_mappings_mutex);
    static const Result<> installed = install_bus_error_handler();
    TRY(Result<>(installed));
    for (std::size_t slot = 0; slot < watched_mappings.size(); ++slot) {
        WatchedMapping& free = watched_mappings[slot];
        if (free.end.load(std::memory_order_acquire) != 0)
            continue;
        const auto start = reinterpret_cast<std::uintptr_t>(mapping.data());
        free.lost.store(false, std::memory_order_relaxed);
        free.page_alone.store(stand_in == StandIn::page, std::memory_order_relaxed);
        free.event.store(event, std::memory_order_relaxed);
        free.start.store(start, std::memory_order_release);
        free.end.store(start + mapping.size(), std::memory_order_release);
        return FileLossWatch(slot);
    }
    return fail("more than {} memory regions of other processes are mapped", mappings_max);
}

FileLossWatch::~FileLossWatch() {
    if (slot_)
        watched_mappings[*slot_].end.store(0, std::memory_order_release);
}

bool FileLossWatch::lost() const {
    return slot_ && watched_mappings[*slot_].lost.load(std::memory_order_relaxed);
}

} // namespace aerate
