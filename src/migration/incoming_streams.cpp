#include "migration/incoming_streams.hpp"

#include "base/host.hpp"
#include "base/log.hpp"
#include "base/unix_socket.hpp"
#include "migration/threads.hpp"
#include "migration/wire/bytes.hpp"

#include <poll.h>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <utility>

namespace aerate::migration {
namespace {

constexpr std::size_t max_candidates = 16; ///< at once: then the first of them makes room
/// Within which a connection must have shown that it belongs to the migration: some round trips of a slow link.
constexpr std::chrono::milliseconds handshake_timeout{3000};
constexpr std::chrono::milliseconds rejection_timeout{10};

log::GuestLogLimit rejected_log_limit;

} // namespace

/// A connection that has not identified itself yet.
struct IncomingStreams::Candidate {
    std::string from;
    std::unique_ptr<Stream> stream;
    std::optional<Result<>> handshake; ///< written by the thread, then `ended`
    std::atomic<bool> ended{false};
    std::jthread thread;

    ~Candidate() {
        // Wakes the thread, if it is not through.
        if (stream)
            (void)::shutdown(stream->connection->fd(), SHUT_RDWR);
    }
};

Result<> IncomingStreams::join(Listener& listener, const Terms& terms, PageIntake& intake, const Connection& control,
                               const EventFd& interrupt) {
    using Clock = std::chrono::steady_clock;
    stop_ = TRY(EventFd::create());
    patience_ = terms.deadline;
    const EventFd heard = TRY(EventFd::create());
    std::vector<std::unique_ptr<Candidate>> candidates;
    const auto until = Clock::now() + terms.deadline;
    Clock::time_point accepts_again; ///< a connection waits until then, for a descriptor that the host lacks
    while (streams_.size() + 1 < terms.streams) {
        const auto now = Clock::now();
        const bool accepts = now >= accepts_again;
        const auto left = std::chrono::ceil<Milliseconds>((accepts ? until : std::min(until, accepts_again)) - now);
        if (now >= until)
            return fail("{} of the source's {} streams have not joined", terms.streams - 1 - streams_.size(),
                        terms.streams);
        std::array<pollfd, 4> fds{pollfd{accepts ? listener.fd() : -1, POLLIN, 0}, pollfd{heard.fd(), POLLIN, 0},
                                  pollfd{control.fd(), POLLIN, 0}, pollfd{interrupt.fd(), POLLIN, 0}};
        if (::poll(fds.data(), fds.size(), static_cast<int>(left.count())) < 0) {
            if (errno == EINTR)
                continue;
            return fail_errno("cannot wait for the source's streams");
        }
        if (fds[3].revents != 0)
            return fail("the migration was cancelled");
        if (fds[2].revents != 0) {
            control_readable_ = true;
            return fail("the source sent a message before all of its streams had joined");
        }
        if (fds[1].revents != 0)
            (void)heard.drain();
        std::erase_if(candidates, [&](const auto& candidate) {
            if (!candidate->ended)
                return false;
            if (const auto admitted = admit(*candidate, terms); !admitted && rejected_log_limit.allow())
                log::warning("{} tried to join the migration and was refused: {}", candidate->from,
                             admitted.error().message);
            return true;
        });
        if (fds[0].revents == 0)
            continue;
        if (candidates.size() >= max_candidates)
            candidates.erase(candidates.begin());
        auto candidate = start_handshake(listener.accept(), terms, heard);
        if (candidate) {
            candidates.push_back(*std::move(candidate));
            continue;
        }
        if (lacks_descriptors(candidate.error().system_error))
            accepts_again = Clock::now() + Milliseconds(100);
        if (rejected_log_limit.allow())
            log::warning("{}", candidate.error().message);
    }
    for (const auto& stream : streams_)
        stream->thread = TRY(host::start_thread(
            stream_thread, fmt::format("stream {}", stream->lane.stream),
            [this, &stream = *stream, &intake, terms](const std::stop_token&) { read(stream, intake, terms); }));
    return {};
}

Result<std::unique_ptr<IncomingStreams::Candidate>>
IncomingStreams::start_handshake(Result<FileDescriptor> accepted, const Terms& terms, const EventFd& heard) const {
    FileDescriptor socket = TRY(std::move(accepted));
    auto candidate = std::make_unique<Candidate>();
    candidate->from = peer_of(socket);
    candidate->stream =
        std::make_unique<Stream>(connect_channel(std::move(socket), *stop_, terms.tls, TlsSide::server));
    candidate->thread = TRY(host::start_thread(
        handshake_thread, "handshake", [&candidate = *candidate, terms, &heard](const std::stop_token&) {
            const auto limit = std::min(terms.deadline, handshake_timeout);
            candidate.handshake = [&]() -> Result<> {
                TRY(candidate.stream->connection->open(limit));
                FrameReader& reader = candidate.stream->reader;
                reader.set_session(terms.session);
                const Frame frame = TRY(reader.receive(limit));
                const unsigned number = reader.stream();
                if (frame.kind != FrameKind::join || !frame.payload.empty() || number == 0 || number >= terms.streams)
                    return fail("another guest is on its way here");
                return {};
            }();
            candidate.ended = true;
            heard.signal();
        }));
    return candidate;
}

/// Moves its stream to the others, if it belongs to them.
Result<> IncomingStreams::admit(Candidate& candidate, const Terms& terms) {
    candidate.thread.join();
    Stream& stream = *candidate.stream;
    const unsigned number = stream.reader.stream();
    Result<> welcome = *candidate.handshake;
    if (welcome && std::ranges::any_of(streams_, [&](const auto& other) { return other->lane.stream == number; }))
        welcome = fail("stream {} has joined already", number);
    FrameWriter writer(*stream.connection, welcome ? stream.reader.stream() : std::uint8_t{0}, rejection_timeout);
    if (!welcome) {
        (void)writer.send(FrameKind::error, std::as_bytes(std::span(welcome.error().message)));
        return welcome;
    }
    writer.set_session(terms.session);
    TRY(writer.send(FrameKind::accept, {}));
    stream.lane.stream = number;
    streams_.push_back(std::move(candidate.stream));
    return {};
}

void IncomingStreams::read(Stream& stream, PageIntake& intake, const Terms& terms) {
    for (unsigned number = 1; wait_until_open(number); ++number) {
        const auto taken = read_round(stream, intake, terms, number);
        std::unique_lock lock(mutex_);
        changed_.notify_all();
        if (taken) {
            stream.ended = number;
            stream.transcript = stream.reader.transcript();
            continue;
        }
        if (stopped_ || failure_)
            return;
        failure_ =
            Error{fmt::format("stream {}: {}", stream.lane.stream, taken.error().message), taken.error().system_error};
        lock.unlock();
        return on_failure_();
    }
}

Result<> IncomingStreams::read_round(Stream& stream, PageIntake& intake, const Terms& terms, unsigned number) {
    for (;;) {
        // The control stream knows whether the source is there; this one may have nothing to say for long.
        TRY(stream.connection->wait_for_more());
        const Frame frame = TRY(stream.reader.receive(terms.deadline));
        {
            const std::lock_guard lock(mutex_);
            ++frames_;
            arrived_ += ByteCount{frame_header_size + frame.payload.size()};
        }
        if (frame.kind == FrameKind::round_end) {
            ByteReader payload(frame.payload);
            if (payload.take<std::uint32_t>() == number && payload.complete())
                return intake.end_round(stream.lane);
            return fail("round {} did not end as it should", number);
        }
        if (frame.kind == FrameKind::pages)
            TRY(intake.take_pages(frame.payload, stream.lane));
        else if (frame.kind == FrameKind::deltas && terms.deltas)
            TRY(intake.take_deltas(frame.payload, stream.lane));
        else
            return fail("the source sent {} in round {} unexpectedly", name_of(frame.kind), number);
    }
}

bool IncomingStreams::wait_until_open(unsigned number) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stopped_ || open_ >= number || last_; });
    return !stopped_ && open_ >= number;
}

void IncomingStreams::open_round(unsigned number, bool last) {
    const std::lock_guard lock(mutex_);
    open_ = number;
    last_ = last;
    changed_.notify_all();
}

Result<> IncomingStreams::finish_round(unsigned number) {
    std::unique_lock lock(mutex_);
    const auto all_have = [&] {
        return std::ranges::all_of(streams_, [&](const auto& stream) { return stream->ended >= number; });
    };
    while (!all_have()) {
        if (cancelled_)
            return fail("the migration was cancelled");
        if (failure_)
            return std::unexpected(*failure_);
        const std::uint64_t before = frames_;
        const bool told = changed_.wait_for(lock, patience_, [&] { return cancelled_ || failure_ || all_have(); });
        if (!told && frames_ == before)
            return fail("a stream does not keep up: round {} does not end", number);
        lock.unlock();
        TRY(expect_progress_());
        lock.lock();
    }
    return {};
}

std::optional<Error> IncomingStreams::failure() {
    const std::lock_guard lock(mutex_);
    return failure_;
}

void IncomingStreams::cancel() {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    changed_.notify_all();
}

void IncomingStreams::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopped_ = true;
        changed_.notify_all();
    }
    if (stop_)
        stop_->signal();
    for (const auto& stream : streams_)
        stream->thread = {};
}

Transcript IncomingStreams::transcript() {
    const std::lock_guard lock(mutex_);
    Transcript all;
    for (const auto& stream : streams_)
        all.add(stream->transcript);
    return all;
}

ByteCount IncomingStreams::arrived() {
    const std::lock_guard lock(mutex_);
    return arrived_;
}

ByteCount IncomingStreams::received() const {
    ByteCount all;
    for (const auto& stream : streams_)
        all += stream->reader.received();
    return all;
}

PageIntake::Lane IncomingStreams::sums() const {
    PageIntake::Lane all;
    for (const auto& stream : streams_) {
        all.pages += stream->lane.pages;
        all.deltas += stream->lane.deltas;
        all.zero += stream->lane.zero;
    }
    return all;
}

} // namespace aerate::migration
