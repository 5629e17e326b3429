// One of the streams that carry pages, at the source: reads the pages that it is given, packs and sends them, in that
// order. All of it on one loop, which is the migration's own for stream 0 and another thread's for each further one.
#pragma once

#include "event/event_loop.hpp"
#include "migration/convergence.hpp"
#include "migration/link/link_rate.hpp"
#include "migration/source.hpp"
#include "migration/wire/compression.hpp"
#include "migration/wire/compression_choice.hpp"
#include "migration/wire/delta_cache.hpp"
#include "migration/wire/delta_frame.hpp"
#include "migration/wire/frame.hpp"
#include "migration/wire/page_frame.hpp"

#include <atomic>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

namespace aerate::migration {

class OutgoingStream {
public:
    /// Since the last report, but for `wire`.
    struct Sent {
        ByteCount wire;  ///< on this stream in all
        PageCount taken; ///< of what was given; of that:
        PageCount data;
        PageCount delta;
        PageCount zero;   ///< as a run, not as content
        ByteCount length; ///< content, before compression
        ByteCount stored; ///< and after
        CompressionSetting form;
        Throughput::Duration took{};
    };
    struct RoundEnd {
        Transcript transcript; ///< of all so far
        ByteCount wire;        ///< likewise
    };
    /// On the stream's loop.
    struct Callbacks {
        std::function<void(const Sent&)> sent;
        std::function<void(RoundEnd)> round_ended;
        std::function<void(Error)> failed; ///< after which nothing more happens
    };

    /// All that is referred to outlives the stream. `options` are the migration's: the stream takes its share.
    OutgoingStream(EventLoop&, unsigned number, GuestMemory&, FrameWriter&, const SourceOptions& options, Callbacks);

    // Loop thread.
    void give(std::vector<PageRange>&&, unsigned round);
    /// Told when everything that was given is sent.
    void end_round(unsigned round);
    /// Keeps to no limit of bandwidth from here on.
    void hurry();

    /// Sends and reports nothing more. Any thread.
    void stop() { stopped_ = true; }

private:
    using Clock = std::chrono::steady_clock;

    void work_soon();
    void work();
    [[nodiscard]] Result<> take(PageRange&);
    [[nodiscard]] Result<PageCount> read(PageRange);
    [[nodiscard]] bool send_as_delta(FrameNumber);
    [[nodiscard]] Result<> flush();
    [[nodiscard]] Result<> flush_pages();
    [[nodiscard]] Result<> flush_deltas();
    [[nodiscard]] Result<> send(FrameKind, std::span<std::byte> frame);
    void account(ByteCount wire, Throughput::Duration took);
    void report();

    EventLoop& loop_;
    unsigned number_;
    GuestMemory& memory_;
    FrameWriter& writer_;
    ByteCount bandwidth_; ///< this stream's share
    Callbacks callbacks_;
    std::atomic<bool> stopped_{false};

    std::deque<PageRange> queue_;
    unsigned round_ = 0;
    bool ending_ = false;
    bool queued_ = false; ///< work()
    bool flushed_ = false;
    PageFrameBuilder builder_;
    Compressor compressor_;
    CompressionChoice choice_;
    LinkRate link_;
    std::optional<DeltaCache> cache_;
    DeltaFrameBuilder deltas_;
    Sent sent_;
    Clock::time_point began_; ///< to work on the next frame
    Clock::time_point sent_at_ = Clock::now();
    LinkRate::Duration between_frames_{}; ///< the last two
    LinkRate::Duration waited_{};         ///< to send the last one
    Clock::time_point paced_until_;
    Subscription pace_timer_;
};

} // namespace aerate::migration
