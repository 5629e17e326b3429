#include "machine/working_set.hpp"

#include "base/log.hpp"

#include <pthread.h>

#include <condition_variable>
#include <mutex>
#include <span>
#include <utility>

namespace aerate {
namespace {

/// Whether it was not asked to stop before that.
bool wait(const std::stop_token& stop, std::chrono::seconds time) {
    std::mutex mutex;
    std::condition_variable_any stopped;
    std::unique_lock lock(mutex);
    return !stopped.wait_for(lock, stop, time, [&] { return stop.stop_requested(); });
}

} // namespace

std::jthread prefetch(const GuestMemory& memory, std::vector<PageRange> ranges) {
    return std::jthread([&memory, ranges = std::move(ranges)](const std::stop_token& stop) {
        pthread_setname_np(pthread_self(), "prefetch");
        // Piece by piece: stopping waits for one, and so does a discard that changes a mapping.
        for (const PageRange& range : ranges) {
            if (stop.stop_requested())
                return;
            memory.prefetch({&range, 1});
        }
    });
}

std::jthread record_working_set(const GuestMemory& memory, WorkingSetRecording recording) {
    return std::jthread([&memory, recording = std::move(recording)](const std::stop_token& stop) {
        pthread_setname_np(pthread_self(), "working-set");
        if (!wait(stop, recording.after))
            return log::warning("no working set was recorded: the guest ended before its {} s were over",
                                recording.after.count());
        PageBitmap touched(memory.address_space());
        memory.collect_touched(touched);
        if (const auto written = snapshot::write_working_set(recording.place, touched); !written)
            return log::warning("no working set was recorded: {}", written.error().message);
        log::info("recorded {} MiB in {}", bytes_of(touched.count()).value >> 20, recording.place.path());
    });
}

} // namespace aerate
