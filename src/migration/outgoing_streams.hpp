// All streams of a migration, as its own thread sees them: hands out pages, to each stream those that are its own, and
// knows when a round is out on all of them.
#pragma once

#include "event/loop_thread.hpp"
#include "migration/outgoing_stream.hpp"
#include "migration/source_link.hpp"

#include <functional>
#include <memory>
#include <vector>

namespace aerate::migration {

/// The migration's thread, but for what is said otherwise.
class OutgoingStreams {
public:
    using Sent = OutgoingStream::Sent;
    struct Callbacks {
        std::function<void(const Sent&)> sent; ///< now there is room again
        std::function<void()> round_ended;     ///< on every stream
        std::function<void(Error)> failed;
    };

    /// Stream 0 is the link's, and works on `loop`. All that is referred to outlives this. `interrupt` is the
    /// migration's, and stop() signals it.
    OutgoingStreams(EventLoop& loop, SourceLink&, GuestMemory&, const SourceOptions&, const EventFd& interrupt,
                    Callbacks);
    ~OutgoingStreams();
    OutgoingStreams(const OutgoingStreams&) = delete;
    OutgoingStreams& operator=(const OutgoingStreams&) = delete;

    /// Opens the further connections, each of which the destination accepts.
    [[nodiscard]] Result<> join();

    /// Gives one stream as much of the beginning of `range` as is its, if it has room. Returns how much that was.
    PageCount give(PageRange range);
    /// Starts sending what was given.
    void deliver(unsigned round);
    void end_round(unsigned round);
    /// Keeps to no limit of bandwidth any more: the guest stands still.
    void hurry();
    /// Sends and reports nothing more. Any number of times.
    void stop();
    /// Waits for the streams' threads. After stop().
    void finish();

    /// Returns the transcript of all streams but the link's own, at the end of a round.
    [[nodiscard]] Transcript transcript() const;
    /// Returns the bytes sent on those.
    [[nodiscard]] ByteCount wire() const;

private:
    struct Lane;
    [[nodiscard]] OutgoingStream::Callbacks callbacks_of(unsigned number);
    void sent(unsigned number, const Sent&);
    void ended(unsigned number, const OutgoingStream::RoundEnd&);

    EventLoop& loop_;
    SourceLink& link_;
    GuestMemory& memory_;
    const SourceOptions& options_;
    Callbacks callbacks_;
    const EventFd& interrupt_;
    std::vector<std::unique_ptr<Lane>> lanes_;
    unsigned still_ending_ = 0;
    bool stopped_ = false;
};

} // namespace aerate::migration
