// The further streams of a migration, at the destination: each is read by a thread of its own, which puts pages in
// place and stops at the end of a round until the control stream has opened the next.
//
// A connection that knows the session may join: it was told to the source alone, on a connection that is protected if
// any is. Other connections are refused meanwhile. Each is heard on a thread of its own, so that none has to wait for
// one that says nothing; how many there are at once, and for how long, is limited.
#pragma once

#include "event/event_fd.hpp"
#include "migration/link/endpoint.hpp"
#include "migration/link/tls.hpp"
#include "migration/page_intake.hpp"
#include "migration/wire/frame.hpp"

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
    /// `on_failure` is called at most once, on any thread, when a stream has failed. `expect_progress` is asked by the
    /// destination's thread while it waits for the end of a round.
    IncomingStreams(std::function<void()> on_failure, std::function<Result<>()> expect_progress)
        : on_failure_(std::move(on_failure))
        , expect_progress_(std::move(expect_progress)) {}
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
    [[nodiscard]] bool control_readable() const { return control_readable_; }

    void open_round(unsigned number, bool last);
    /// Waits until every stream has had all of it; for as long as something arrives, and enough of it.
    [[nodiscard]] Result<> finish_round(unsigned number);
    /// Returns why a stream failed, if one has.
    [[nodiscard]] std::optional<Error> failure();
    /// Ends finish_round(). Any thread.
    void cancel();
    /// Ends the threads.
    void stop();

    /// Returns the bytes that arrived in rounds so far. Any thread.
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

    struct Candidate;
    /// Fails when there is no socket, or the host refuses the thread.
    [[nodiscard]] Result<std::unique_ptr<Candidate>> start_handshake(Result<FileDescriptor> socket, const Terms&,
                                                                     const EventFd& heard) const;
    [[nodiscard]] Result<> admit(Candidate&, const Terms&);
    void read(Stream&, PageIntake&, const Terms&);
    [[nodiscard]] Result<> read_round(Stream&, PageIntake&, const Terms&, unsigned number);
    /// Returns false when there will be no further round.
    [[nodiscard]] bool wait_until_open(unsigned number);

    std::function<void()> on_failure_;
    std::function<Result<>()> expect_progress_;
    std::optional<EventFd> stop_; ///< interrupts reading
    std::vector<std::unique_ptr<Stream>> streams_;
    bool control_readable_ = false;
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
