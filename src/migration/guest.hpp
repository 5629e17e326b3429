// The VM as a migration sees it, at both ends. The machine implements these; the tests have fakes over real memory.
//
// Calls come on the migration's own thread, and one that takes a callback is a question: it is answered once, from any
// thread, before the next question is asked. No call waits for the migration's thread.
#pragma once

#include "base/error.hpp"
#include "memory/guest_memory.hpp"
#include "memory/page_bitmap.hpp"

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace aerate::migration {

/// The VM that leaves.
class SourceGuest {
public:
    virtual ~SourceGuest() = default;

    virtual GuestMemory& memory() = 0;
    /// What the destination must build before it can load the state: opaque here, at most 64 KiB.
    virtual std::string config() = 0;

    /// From here on gather() knows of every write.
    virtual Result<> start_tracking() = 0;
    /// Adds all that was written since the last time, or since start_tracking(), whoever did: vCPUs, the monitor,
    /// devices, and every buffer that a device holds now. Pages that the monitor discarded go to `discarded`, or to
    /// `written` where nobody can tell them apart. When it returns, every later write leaves a new trace: a log that is
    /// cleared lazily would not do.
    virtual void gather(PageBitmap& written, PageBitmap& discarded) = 0;
    virtual void stop_tracking() = 0;

    /// Any thread. After stop_hinting() has been answered neither is called.
    struct HintCallbacks {
        std::move_only_function<void(PageRange)> hinted;
        std::move_only_function<void()> round_over; ///< the guest has no more; may never come
    };
    /// A fresh command ID. Answered with false when the guest takes no part, or when it expects a poison value in pages
    /// that it has hinted: then nothing need be stopped.
    virtual void start_hinting(HintCallbacks, std::move_only_function<void(bool)> published) = 0;
    virtual void stop_hinting(std::move_only_function<void()> closed) = 0;

    /// Brings devices, balloon and vCPUs to rest. When it fails the guest runs.
    virtual void freeze(std::move_only_function<void(Result<>)> frozen) = 0;
    /// The devices' state. The guest is frozen.
    virtual void save(std::move_only_function<void(Result<std::vector<std::byte>>)> saved) = 0;

    /// How much of their time vCPUs stand still. 0 when the migration has ended here.
    virtual void throttle(unsigned percent) { (void)percent; }

    // One of these ends it, after tracking was started; neither does when nobody can know who has the guest
    // (Outcome::unknown): then it stays frozen until an operator decides.
    /// It stays: goes on from where it was, and takes back what it has hinted.
    virtual void run_on() = 0;
    /// The destination has it. Tracking need not be stopped first.
    virtual void gone() = 0;
};

/// The VM that arrives.
class DestinationGuest {
public:
    virtual ~DestinationGuest() = default;

    /// Checks that it can be such a VM, with such regions, and allocates memory that reads as zero. Nothing but the
    /// handshake has been received by then.
    virtual Result<GuestMemory*> prepare(const std::string& config, std::span<const MemoryRegion>) = 0;
    /// The devices' state, checked as if a guest had written it. All that can fail in run() should fail here.
    virtual Result<> load(std::span<const std::byte> state) = 0;
    virtual Result<> run() = 0;
    /// It does not come, or could not run; called only after prepare() succeeded. Drop all.
    virtual void discard() = 0;
};

} // namespace aerate::migration
