#include "base/host.hpp"

#include <pthread.h>
#include <unistd.h>

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <optional>
#include <system_error>
#include <utility>

namespace aerate::host {
namespace {

constexpr std::uint64_t never = std::numeric_limits<std::uint64_t>::max();

std::atomic<bool> counting{false};
std::atomic<bool> unmapping{false};
std::atomic<std::optional<Resource>> counted{};
std::atomic<std::uint64_t> asked{0};
std::atomic<std::uint64_t> first_refused{never};
std::atomic<std::uint64_t> last_refused{0};

std::atomic<void (*)(const confine::ThreadKind&)> first_call{nullptr};

constexpr int error_of(Resource resource) {
    switch (resource) {
    case Resource::thread:
        return EAGAIN; // pthread_create(3)
    case Resource::descriptor:
        return EMFILE;
    case Resource::watch:
        return ENOSPC; // epoll_ctl(2)
    case Resource::disk:
        return EIO;
    case Resource::mapping:
    case Resource::memory:
        break;
    }
    return ENOMEM;
}

std::unexpected<Error> no_thread(const std::string& name, int error) {
    return std::unexpected(Error{
        fmt::format("cannot start the thread '{}' (at the limit of processes and threads? ulimit -u, pids.max): {}",
                    name, describe_errno(error)),
        error});
}

} // namespace

void count_only(std::optional<Resource>); // base/testing/refusing_host.hpp

bool refuses(Resource resource) {
    if (!counting.load(std::memory_order_relaxed)) [[likely]]
        return false;
    if (const auto only = counted.load(); only && *only != resource)
        return false;
    const std::uint64_t number = asked.fetch_add(1) + 1;
    if (number < first_refused.load() || number > last_refused.load())
        return false;
    errno = error_of(resource);
    return true;
}

// The name is copied because both the thread and a refusal need it.
// NOLINTNEXTLINE(performance-unnecessary-value-param)
Result<std::jthread> start_thread(std::string name, std::move_only_function<void(const std::stop_token&)> work) {
    if (refuses(Resource::thread))
        return no_thread(name, errno);
    try {
        return std::jthread([name, work = std::move(work)](const std::stop_token& stop) mutable {
            constexpr std::size_t longest = 15; // pthread_setname_np(3)
            pthread_setname_np(pthread_self(), name.substr(0, longest).c_str());
            work(stop);
        });
    } catch (const std::system_error& refused) {
        return no_thread(name, refused.code().value());
    } catch (const std::bad_alloc&) {
        return no_thread(name, ENOMEM);
    }
}

Result<std::jthread> start_thread(const confine::ThreadKind& kind, std::string name,
                                  std::move_only_function<void(const std::stop_token&)> work) {
    return start_thread(std::move(name), [&kind, work = std::move(work)](const std::stop_token& stop) mutable {
        if (auto* const first = first_call.load(); first != nullptr)
            first(kind);
        work(stop);
    });
}

void on_thread_start(void (*first)(const confine::ThreadKind&)) {
    first_call = first;
}

void* map(void* place, std::size_t length, int protection, int flags, int fd, off_t offset) {
    if (!refuses(Resource::mapping))
        return ::mmap(place, length, protection, flags, fd, offset);
    const int why = errno;
    if ((flags & MAP_FIXED) != 0 && unmapping.load())
        ::munmap(place, length);
    errno = why;
    return MAP_FAILED;
}

int sync_data(int fd) {
    return refuses(Resource::disk) ? -1 : ::fdatasync(fd);
}

void FreeMemory::operator()(void* memory) const {
    std::free(memory); // NOLINT(cppcoreguidelines-no-malloc): see zeroed_bytes()
}

void* zeroed_bytes(std::size_t count, std::size_t size) {
    // NOLINTNEXTLINE(cppcoreguidelines-no-malloc): calloc's zeros come without touching the memory
    return refuses(Resource::memory) ? nullptr : std::calloc(std::max<std::size_t>(count, 1), size);
}

void count_only(std::optional<Resource> resource) {
    counted = resource;
}

void refuse_requests(std::uint64_t first, std::uint64_t last, RefusedMapping mapping) {
    asked = 0;
    unmapping = mapping == RefusedMapping::unmaps;
    first_refused = first;
    last_refused = last;
    counting = true;
}

void refuse_nothing() {
    counting = false;
}

std::uint64_t requests_asked() {
    return asked.load();
}

} // namespace aerate::host
