// The VM as a migration sees it, at both ends. The machine implements these; the tests have fakes over real memory.
//
// Calls come on the migration's own thread, and one that takes a callback is a question: it is answered once, from any
// thread, before the next question is asked. No call waits for the migration's thread.
#pragma once

#include "base/error.hpp"
#include "memory/guest_memory.hpp"
#include "memory/page_bitmap.hpp"
#include "migration/hint_inbox.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace aerate::migration {

/// A part of a host's file that goes along with the guest, because it will want it again when it resets itself.
struct Attachment {
    enum class Kind : std::uint8_t { kernel, initrd };
    Kind kind;
    int fd; ///< the guest's, for as long as it is copied
    ByteCount offset;
    ByteCount length;
};
/// Each of them at most, and no more than the guest has memory.
inline constexpr ByteCount attachment_max{1U << 30};

/// The VM that leaves.
class SourceGuest {
public:
    virtual ~SourceGuest() = default;

    virtual GuestMemory& memory() = 0;
    /// Returns what the destination must build before it can load the state: opaque here, at most 64 KiB.
    virtual std::string config() = 0;
    /// Returns at most one of each kind, in the order of kinds.
    virtual std::vector<Attachment> attachments() { return {}; }

    /// Starts tracking: from here on gather() reports every write.
    virtual Result<> start_tracking() = 0;
    /// Adds all that was written since the last time, or since start_tracking(), by whatever: vCPUs, the monitor,
    /// devices, and every buffer that a device holds now; and all that the monitor discarded. When it returns, every
    /// later write leaves a new trace: a log that is cleared lazily would not do.
    virtual void gather(PageBitmap& written) = 0;
    virtual void stop_tracking() = 0;

    /// Any thread. After stop_hinting() has been answered nothing is added and nothing called.
    struct Hints {
        HintInbox* hinted = nullptr;
        std::move_only_function<void()> round_over; ///< the guest has no more; may never come
    };
    /// Publishes a fresh command ID. Answered with false when the guest takes no part, or when it expects a poison
    /// value in pages that it has hinted: then nothing need be stopped.
    virtual void start_hinting(Hints, std::move_only_function<void(bool)> published) = 0;
    virtual void stop_hinting(std::move_only_function<void()> closed) = 0;

    /// Brings to the disks what the guest has written so far, while it runs, so that little is left to do when it
    /// is stopped. Answered once, unless run_on() or forget_sync() comes before. Not a question: others may be asked
    /// meanwhile.
    virtual void sync(std::move_only_function<void(Result<>)> synced) { synced({}); }
    /// No answer comes after this returns.
    virtual void forget_sync() {}

    /// Brings devices, balloon and vCPUs to rest. When it fails the guest runs.
    virtual void freeze(std::move_only_function<void(Result<>)> frozen) = 0;
    /// Saves the devices' state. The guest is frozen, and all that it wrote is on its disks.
    virtual void save(std::move_only_function<void(Result<std::vector<std::byte>>)> saved) = 0;

    /// Sets for how much of their time vCPUs are stopped. 0 when the migration has ended here.
    virtual void throttle(unsigned percent) { (void)percent; }

    // One of these ends it, after tracking was started; neither does when it is unknown which side has the guest
    // (Outcome::unknown): then it stays frozen until an operator decides.
    /// Resumes the guest, which stays: it takes back what it has hinted.
    virtual void run_on() = 0;
    /// Ends the guest here: the destination has it. Tracking need not be stopped first.
    virtual void gone() = 0;
};

/// The VM that arrives.
class DestinationGuest {
public:
    virtual ~DestinationGuest() = default;

    /// Checks that it can be such a VM, with such regions, and allocates memory that reads as zero. Nothing but the
    /// handshake has been received by then.
    virtual Result<GuestMemory*> prepare(const std::string& config, std::span<const MemoryRegion>) = 0;
    /// Takes the next piece of an attachment of that length, in order; each piece is at least a byte. After prepare().
    virtual Result<> attach(Attachment::Kind, ByteCount length, std::span<const std::byte> piece) = 0;
    /// Loads the devices' state, checked as if a guest had written it. All that can fail in run() should fail here.
    virtual Result<> load(std::span<const std::byte> state) = 0;
    virtual Result<> run() = 0;
    /// Drops all: the guest does not come, or could not run. Called only after prepare() succeeded.
    virtual void discard() = 0;
};

} // namespace aerate::migration
