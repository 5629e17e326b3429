// The one door through which the host is asked for what it may refuse: threads, descriptors, mappings, watches, and
// memory in proportion to a guest's. Each refusal is a Result, and the guest that runs meanwhile runs on.
//
//     auto thread = TRY(host::start_thread(snapshot_thread, "snapshot", [this](const std::stop_token&) { serve(); }));
//     FileDescriptor fd = host::descriptor([] { return ::eventfd(0, EFD_CLOEXEC); });    // as the call itself: errno
//     void* const place = host::map(nullptr, length, PROT_READ, MAP_SHARED, fd.get(), 0);
//
// Every request is counted, so that a test can have the host refuse the n-th, for every n:
// base/testing/refusing_host.hpp. That costs one relaxed load a request. scripts/check-host-door holds that nothing
// goes by another way.
//
// What is not asked here is what malloc gives for small objects: a process that cannot have a few KiB more ends.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <thread>

namespace aerate::confine {
struct ThreadKind; // confine/thread_kind.hpp
}

namespace aerate::host {

enum class Resource : std::uint8_t { thread, descriptor, watch, mapping, memory, disk };

/// Returns whether a test has the host refuse this request; errno is then as the host would leave it.
[[nodiscard]] bool refuses(Resource);

/// Starts a thread that is called `name` (15 characters are shown). As any jthread it is asked to stop, and joined, by
/// its destructor: what `work` waits for must heed the token, or be stopped before.
[[nodiscard]] Result<std::jthread> start_thread(std::string name,
                                                std::move_only_function<void(const std::stop_token&)> work);
/// Starts one that does what threads of that kind do, and is confined to it where this process is confined: see
/// confine/confinement.hpp. REQUIRES: `kind` is there for good.
[[nodiscard]] Result<std::jthread> start_thread(const confine::ThreadKind& kind, std::string name,
                                                std::move_only_function<void(const std::stop_token&)> work);
/// Has every thread of a kind call this first, from now on. Before any of them starts.
void on_thread_start(void (*)(const confine::ThreadKind&));

/// Returns the descriptor that `open` returns: invalid, with errno set, when the host refuses.
template <typename Open>
[[nodiscard]] FileDescriptor descriptor(Open&& open) {
    return FileDescriptor(refuses(Resource::descriptor) ? -1 : static_cast<int>(open()));
}

/// Calls mmap(2), whose errors it returns. With MAP_FIXED an error may have unmapped what was there: see
/// memory/fixed_mapping.hpp.
[[nodiscard]] void* map(void* place, std::size_t length, int protection, int flags, int fd, off_t offset);

/// fdatasync(2), its errors included: what was written has not reached the disk, and nobody knows which part.
[[nodiscard]] int sync_data(int fd);

struct FreeMemory {
    void operator()(void* memory) const;
};
/// Returns memory for `count` objects, all zero. Costs memory only where it is written, so that 512 MiB are free at
/// first. Null when the host refuses.
template <typename T>
[[nodiscard]] std::unique_ptr<T[], FreeMemory> zeroed(std::size_t count);

/// Does what zeroed() does, without a type.
[[nodiscard]] void* zeroed_bytes(std::size_t count, std::size_t size);

template <typename T>
std::unique_ptr<T[], FreeMemory> zeroed(std::size_t count) {
    static_assert(std::is_trivially_destructible_v<T>);
    return std::unique_ptr<T[], FreeMemory>(static_cast<T*>(zeroed_bytes(count, sizeof(T))));
}

/// What a refused mmap(MAP_FIXED) does to what was there: memory/fixed_mapping.hpp.
enum class RefusedMapping : std::uint8_t {
    keeps,
    unmaps, ///< as Linux before 6.9
};
/// Refuses, for tests by way of base/testing/refusing_host.hpp, the requests `first` to `last`, counted from 1 on from
/// now on, of this whole process.
void refuse_requests(std::uint64_t first, std::uint64_t last, RefusedMapping);
void refuse_nothing();
/// Returns how many requests were made since refuse_requests(), and how many of them were refused.
[[nodiscard]] std::uint64_t requests_asked();

} // namespace aerate::host
