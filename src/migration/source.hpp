// The side that a live migration leaves. Carries out protocol::Precopy and protocol::HandOffSource on a thread of its
// own: pages go out in rounds while the guest runs, hints keep free ones back, and when what is left fits into the
// downtime limit the guest is frozen, the rest and the devices' state follow, and the guest is handed over.
//
//     Source source(guest, {.downtime_limit = 100ms, .connect = to_the_destination},
//                   {.progress = [](const SourceProgress&) {...}, .finished = [](SourceResult) {...}});
//     source.start();
//
// Whatever fails before GO is sent leaves the guest running here with nothing changed. Hints only keep pages from being
// sent; nothing is ever discarded here.
//
// Any thread may call cancel(). Destroy it after `finished` was called, and not inside that callback: until then the
// guest holds callbacks into it.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/units.hpp"
#include "migration/guest.hpp"
#include "migration/lease.hpp"
#include "migration/link/tls.hpp"
#include "migration/timeline.hpp"
#include "migration/wire/compression.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace aerate::migration {

struct SourceOptions {
    std::chrono::milliseconds downtime_limit{300};
    unsigned max_rounds = 30;   ///< without the limit in sight: then the guest stays here
    bool stop_anyway = false;   ///< ... or is stopped for as long as it takes
    bool auto_converge = false; ///< slow down a guest that writes faster than the link carries: 20 %, then 10 % more
    bool verify = false;        ///< both sides read all memory once more while the guest is stopped
    std::vector<CompressionSetting> compression{}; ///< used where it pays, lightest first: see CompressionChoice
    ByteCount bandwidth{};                         ///< a second; 0: as much as there is
    bool hints = true;                             ///< ask the guest what is free
    std::chrono::milliseconds hint_start{250};     ///< for the first hint of a round; see HintPatience
    std::chrono::milliseconds hint_pause{20};      ///< and then from each to the next, at least
    /// Each frame must be taken within this time, each answer must come. 0.1 MiB/s is the slowest link that does.
    std::chrono::milliseconds deadline{10'000};
    std::string record_directory{}; ///< where "given" is noted before GO; empty: nowhere
    std::string guest{};            ///< its name, for that note
    Lease* lease = nullptr;         ///< the destination must have the same
    const Tls* tls = nullptr;       ///< likewise; null: plain
    unsigned streams = 1;           ///< connections that carry pages, at most max_streams, each with a thread
    /// Connects a stream (Unix or TCP) to the destination. Gives up when `interrupt` is signalled. Called on the
    /// migration's thread, once a stream.
    std::function<Result<FileDescriptor>(const EventFd& interrupt)> connect{};
    /// For what was sent last of pages that are written again and again, so that only what differs is sent: 0, or a
    /// page and more.
    ByteCount delta_cache{};
};

struct SourceProgress {
    enum class Phase : std::uint8_t { connecting, hinting, copying, stopping, handing_over, ended };
    Phase phase = Phase::connecting;
    unsigned round = 0;
    ByteCount wire;                       ///< sent in all, of that:
    ByteCount data;                       ///< pages' content, before compression
    ByteCount stored;                     ///< and after
    CompressionSetting form;              ///< in use, on the stream that sent last
    PageCount pages;                      ///< with content; a page counts each time it is sent
    PageCount delta;                      ///< of them, as what differs
    PageCount zero;                       ///< as a run, content seen to be zero
    PageCount hinted;                     ///< not sent on the guest's word, though there was something in them
    PageCount pending;                    ///< with content, as far as is known
    PageCount dirty_per_second;           ///< in the last round
    ByteCount throughput;                 ///< a second, of content
    std::chrono::microseconds expected{}; ///< downtime, if it stopped now
    unsigned throttle = 0;                ///< percent
};

enum class Outcome : std::uint8_t {
    moved,   ///< the destination runs it
    stayed,  ///< it runs here
    unknown, ///< given, and no answer: it is stopped here, and an operator must find out whether the other side runs
};

struct SourceResult {
    Outcome outcome = Outcome::stayed;
    std::string error{}; ///< why it did not move
    SourceProgress last;
    std::chrono::microseconds total{};
    std::chrono::microseconds downtime{}; ///< from asking the guest to freeze until the destination's answer
    std::vector<TimelineStep> timeline{}; ///< what `total` went into
};

class Source {
public:
    /// On the migration's thread; must not wait for it.
    struct Callbacks {
        std::function<void(const SourceProgress&)> progress; ///< at each change of phase, and four times a second
        std::move_only_function<void(SourceResult)> finished;
    };

    /// REQUIRES: `connect` is given. `guest`, the lease and the credentials outlive this.
    Source(SourceGuest& guest, SourceOptions, Callbacks);
    ~Source();
    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;

    /// Fails when the host refuses the thread; `finished` is not called then.
    [[nodiscard]] Result<> start();
    /// Keeps the guest here, unless it is given already. Any thread, any number of times.
    void cancel();

private:
    class Engine;
    std::unique_ptr<Engine> engine_;
};

} // namespace aerate::migration
