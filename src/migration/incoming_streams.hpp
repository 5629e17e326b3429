// The further streams of a migration, at the destination: each is read by a thread of its own, which puts pages in
// place and stops at the end of a round until the control stream has opened the next.
//
// Whoever knows the session may join: it was told to the source alone, on a connection that is protected if any is.
// Strangers that connect meanwhile are sent away. Everybody is heard on a thread of their own, so that nobody has to
// wait for one who says nothing; there is an end to how many at once, and to how long this takes.
#pragma once

#include "event/event_fd.hpp"
#include "migration/endpoint.hpp"
#include "migration/frame.hpp"
#include "migration/page_intake.hpp"
#include "migration/tls.hpp"

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace aerate::migration {

/// The destination's thread, but for cancel().
class IncomingStreams {
public:
    using Milliseconds = std::chrono::milliseconds;
    /// `broke` is called at most once, on any thread, when a stream has failed.
    explicit IncomingStreams(std::function<void()> broke)
        : broke_(std::move(broke)) {}
    ~IncomingStreams() { stop(); }
    IncomingStreams(const IncomingStreams&) = delete;
    IncomingStreams& operator=(const IncomingStreams&) = delete;

    struct Terms {
        Session session;
        unsigned streams = 1;
        bool deltas = false;
        const Tls* tls = nullptr;
        Milliseconds deadline{};
    };
    /// Waits for the streams from 1 on. An error when they do not come in time, or when `control` has something to say
    /// before: then `control` is to be read. `intake` outlives stop().
    [[nodiscard]] Result<> join(Listener&, const Terms&, PageIntake& intake, const Connection& control,
                                const EventFd& interrupt);
    [[nodiscard]] bool control_spoke() const { return control_spoke_; }

    void open_round(unsigned number, bool last);
    /// Until every stream has had all of it; for as long as something arrives.
    [[nodiscard]] Result<> finish_round(unsigned number);
    /// Why a stream failed, if one has.
    [[nodiscard]] std::optional<Error> failure();
    /// Ends finish_round(). Any thread.
    void cancel();
    /// The threads are gone afterwards.
    void stop();

    /// That have arrived: shows whether anything happens.
    [[nodiscard]] std::uint64_t frames();
    /// In rounds, so far. Any thread.
    [[nodiscard]] ByteCount arrived();
    // After the last round, or stop().
    [[nodiscard]] Transcript transcript();
    [[nodiscard]] ByteCount received() const;
    [[nodiscard]] PageIntake::Lane sums() const;

private:
    struct Stream {
        explicit Stream(std::unique_ptr<Connection> taken)
            : connection(std::move(taken))
            , reader(*connection, FrameReader::any_stream) {}
        std::unique_ptr<Connection> connection;
        FrameReader reader;
        PageIntake::Lane lane; ///< its number is set once it has joined
        unsigned ended = 0;    ///< the round; guarded by mutex_
        Transcript transcript; ///< at its end; likewise
        std::jthread thread;
    };

    struct Visitor;
    [[nodiscard]] std::unique_ptr<Visitor> hear(FileDescriptor socket, const Terms&, const EventFd& heard) const;
    [[nodiscard]] Result<> admit(Visitor&, const Terms&);
    void read(Stream&, PageIntake&, const Terms&);
    [[nodiscard]] Result<> read_round(Stream&, PageIntake&, const Terms&, unsigned number);
    /// False when there will be none.
    [[nodiscard]] bool wait_until_open(unsigned number);

    std::function<void()> broke_;
    std::optional<EventFd> stop_; ///< interrupts reading
    std::vector<std::unique_ptr<Stream>> streams_;
    bool control_spoke_ = false;
    Milliseconds patience_{};

    std::mutex mutex_; ///< for what follows
    std::condition_variable changed_;
    unsigned open_ = 0;
    bool last_ = false;
    bool stopped_ = false;
    bool cancelled_ = false;
    std::uint64_t frames_ = 0;
    ByteCount arrived_;
    std::optional<Error> failure_;
};

} // namespace aerate::migration
