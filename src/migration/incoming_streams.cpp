#include "migration/incoming_streams.hpp"

#include "base/log.hpp"
#include "migration/bytes.hpp"

#include <poll.h>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <utility>

namespace aerate::migration {
namespace {

constexpr std::size_t most_visitors = 16; ///< at once: then the first of them makes room
/// In which somebody who has connected must have shown that it belongs here: some round trips of a slow link.
constexpr std::chrono::milliseconds to_introduce_oneself{3000};
constexpr std::chrono::milliseconds to_send_away{10};

log::GuestLogLimit strangers_told_of;

} // namespace

/// Somebody who has connected, until it has said who it is.
struct IncomingStreams::Visitor {
    std::string from;
    std::unique_ptr<Stream> stream;
    std::optional<Result<>> introduced; ///< written by the thread, then `ended`
    std::atomic<bool> ended{false};
    std::jthread thread;

    ~Visitor() {
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
    std::vector<std::unique_ptr<Visitor>> visitors;
    const auto until = Clock::now() + terms.deadline;
    while (streams_.size() + 1 < terms.streams) {
        const auto left = std::chrono::ceil<Milliseconds>(until - Clock::now());
        if (left.count() <= 0)
            return fail("{} of the source's {} streams have not joined", terms.streams - 1 - streams_.size(),
                        terms.streams);
        std::array<pollfd, 4> fds{pollfd{listener.fd(), POLLIN, 0}, pollfd{heard.fd(), POLLIN, 0},
                                  pollfd{control.fd(), POLLIN, 0}, pollfd{interrupt.fd(), POLLIN, 0}};
        if (::poll(fds.data(), fds.size(), static_cast<int>(left.count())) < 0) {
            if (errno == EINTR)
                continue;
            return fail_errno("cannot wait for the source's streams");
        }
        if (fds[3].revents != 0)
            return fail("the migration was cancelled");
        if (fds[2].revents != 0) {
            control_spoke_ = true;
            return fail("the source has said something before all of its streams had joined");
        }
        if (fds[1].revents != 0)
            (void)heard.drain();
        std::erase_if(visitors, [&](const auto& visitor) {
            if (!visitor->ended)
                return false;
            if (const auto admitted = admit(*visitor, terms); !admitted && strangers_told_of.allow())
                log::warning("{} wanted to join the migration and was sent away: {}", visitor->from,
                             admitted.error().message);
            return true;
        });
        if (fds[0].revents == 0)
            continue;
        if (visitors.size() >= most_visitors)
            visitors.erase(visitors.begin());
        auto socket = listener.accept();
        if (socket)
            visitors.push_back(hear(*std::move(socket), terms, heard));
        else if (strangers_told_of.allow())
            log::warning("{}", socket.error().message);
    }
    for (const auto& stream : streams_)
        stream->thread = std::jthread([this, &stream = *stream, &intake, terms] { read(stream, intake, terms); });
    return {};
}

std::unique_ptr<IncomingStreams::Visitor> IncomingStreams::hear(FileDescriptor socket, const Terms& terms,
                                                                const EventFd& heard) const {
    auto visitor = std::make_unique<Visitor>();
    visitor->from = peer_of(socket);
    visitor->stream = std::make_unique<Stream>(connect_channel(std::move(socket), *stop_, terms.tls, TlsSide::server));
    visitor->thread = std::jthread([&visitor = *visitor, terms, &heard] {
        const auto limit = std::min(terms.deadline, to_introduce_oneself);
        visitor.introduced = [&]() -> Result<> {
            TRY(visitor.stream->connection->open(limit));
            FrameReader& reader = visitor.stream->reader;
            reader.set_session(terms.session);
            const Frame frame = TRY(reader.receive(limit));
            const unsigned number = reader.stream();
            if (frame.kind != FrameKind::join || !frame.payload.empty() || number == 0 || number >= terms.streams)
                return fail("another guest is on its way here");
            return {};
        }();
        visitor.ended = true;
        heard.signal();
    });
    return visitor;
}

/// Moves its stream to the others, if it belongs to them.
Result<> IncomingStreams::admit(Visitor& visitor, const Terms& terms) {
    visitor.thread.join();
    Stream& stream = *visitor.stream;
    const unsigned number = stream.reader.stream();
    Result<> welcome = *visitor.introduced;
    if (welcome && std::ranges::any_of(streams_, [&](const auto& other) { return other->lane.stream == number; }))
        welcome = fail("stream {} is there already", number);
    FrameWriter writer(*stream.connection, welcome ? stream.reader.stream() : std::uint8_t{0}, to_send_away);
    if (!welcome) {
        (void)writer.send(FrameKind::error, std::as_bytes(std::span(welcome.error().message)));
        return welcome;
    }
    writer.set_session(terms.session);
    TRY(writer.send(FrameKind::accept, {}));
    stream.lane.stream = number;
    streams_.push_back(std::move(visitor.stream));
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
        return broke_();
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
                return {};
            return fail("round {} did not end as it should", number);
        }
        if (frame.kind == FrameKind::pages)
            TRY(intake.take_pages(frame.payload, stream.lane));
        else if (frame.kind == FrameKind::deltas && terms.deltas)
            TRY(intake.take_deltas(frame.payload, stream.lane));
        else
            return fail("the source sent {} in round {} when that may not come", name_of(frame.kind), number);
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
    }
    return {};
}

std::optional<Error> IncomingStreams::failure() {
    const std::lock_guard lock(mutex_);
    return failure_;
}

std::uint64_t IncomingStreams::frames() {
    const std::lock_guard lock(mutex_);
    return frames_;
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
