#include "machine/working_set.hpp"

#include "base/host.hpp"
#include "base/log.hpp"
#include "machine/threads.hpp"

#include <condition_variable>
#include <mutex>
#include <span>
#include <utility>

namespace aerate {
namespace {

/// Returns whether it was not asked to stop before that.
bool wait(const std::stop_token& stop, std::chrono::seconds time) {
    std::mutex mutex;
    std::condition_variable_any stopped;
    std::unique_lock lock(mutex);
    return !stopped.wait_for(lock, stop, time, [&] { return stop.stop_requested(); });
}

Result<> record(const GuestMemory& memory, const snapshot::WorkingSetPlace& place) {
    PageBitmap touched = TRY(PageBitmap::create(memory.address_space()));
    memory.collect_touched(touched);
    TRY(snapshot::write_working_set(place, touched));
    log::info("recorded {} MiB in {}", bytes_of(touched.count()).value >> 20, place.path());
    return {};
}

} // namespace

Result<std::jthread> prefetch(const GuestMemory& memory, std::vector<PageRange> ranges) {
    return host::start_thread(prefetch_thread, "prefetch",
                              [&memory, ranges = std::move(ranges)](const std::stop_token& stop) {
                                  // Piece by piece: stopping waits for one, and so does a discard that changes a
                                  // mapping.
                                  for (const PageRange& range : ranges) {
                                      if (stop.stop_requested())
                                          return;
                                      memory.prefetch({&range, 1});
                                  }
                              });
}

Result<std::jthread> record_working_set(const GuestMemory& memory, WorkingSetRecording recording) {
    return host::start_thread(
        working_set_thread, "working-set", [&memory, recording = std::move(recording)](const std::stop_token& stop) {
            if (!wait(stop, recording.after))
                return log::warning("no working set was recorded: the guest ended before its {} s were over",
                                    recording.after.count());
            if (const auto recorded = record(memory, recording.place); !recorded)
                log::warning("no working set was recorded: {}", recorded.error().message);
        });
}

} // namespace aerate
