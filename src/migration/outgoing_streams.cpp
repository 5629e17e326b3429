#include "migration/outgoing_streams.hpp"

#include "base/check.hpp"
#include "migration/threads.hpp"

#include <utility>

namespace aerate::migration {
namespace {

/// Given to one stream and not sent yet. Enough that it has work while the others get theirs; but what has been given
/// is out of reach of hints.
constexpr PageCount most_waiting{1024};

} // namespace

/// A stream as its owner sees it; a further one with its connection and thread.
struct OutgoingStreams::Lane {
    std::unique_ptr<Connection> connection;
    std::optional<FrameWriter> writer;
    std::optional<LoopThread> thread; ///< stopped first, but gone last: the stream has a timer on its loop
    std::optional<OutgoingStream> stream;

    PageCount waiting;
    std::vector<PageRange> given; ///< since deliver()
    Transcript transcript;        ///< at the end of the last round
    ByteCount wire;
};

OutgoingStreams::OutgoingStreams(EventLoop& loop, SourceLink& link, GuestMemory& memory, const SourceOptions& options,
                                 const EventFd& interrupt, Callbacks callbacks)
    : loop_(loop)
    , link_(link)
    , memory_(memory)
    , options_(options)
    , callbacks_(std::move(callbacks))
    , interrupt_(interrupt) {
    lanes_.push_back(std::make_unique<Lane>());
    lanes_[0]->stream.emplace(loop_, 0, memory_, link_.writer(), options_, callbacks_of(0));
}

OutgoingStreams::~OutgoingStreams() {
    stop();
    finish();
}

Result<> OutgoingStreams::join() {
    while (lanes_.size() < options_.streams) {
        const auto number = static_cast<unsigned>(lanes_.size());
        auto lane = std::make_unique<Lane>();
        lane->connection =
            connect_channel(TRY(options_.connect(interrupt_)), interrupt_, options_.tls, TlsSide::client);
        TRY(lane->connection->open(options_.deadline));
        const auto stream = static_cast<std::uint8_t>(number);
        lane->writer.emplace(*lane->connection, stream, options_.deadline);
        lane->writer->set_session(link_.session());
        (void)lane->writer->begin();
        TRY(lane->writer->send(FrameKind::join));
        FrameReader reader(*lane->connection, stream);
        reader.set_session(link_.session());
        if (const auto answer = reader.receive(options_.deadline); !answer || answer->kind != FrameKind::accept)
            return fail("the destination does not accept stream {}: {}", number,
                        answer ? "it sent something else" : answer.error().message);
        lane->thread.emplace(stream_thread, fmt::format("migration {}", number));
        TRY(lane->thread->loop().prepare()); // which the stream's timer is on
        lane->stream.emplace(lane->thread->loop(), number, memory_, *lane->writer, options_, callbacks_of(number));
        TRY(lane->thread->start());
        lanes_.push_back(std::move(lane));
    }
    return {};
}

/// Streams tell their own loops, and we are told on ours.
OutgoingStream::Callbacks OutgoingStreams::callbacks_of(unsigned number) {
    return {.sent = [this, number](const Sent& what) { loop_.post([this, number, what] { sent(number, what); }); },
            .round_ended =
                [this, number](const OutgoingStream::RoundEnd& end) {
                    loop_.post([this, number, end] { ended(number, end); });
                },
            .failed =
                [this](const Error& error) {
                    loop_.post([this, error] {
                        if (!stopped_)
                            callbacks_.failed(error);
                    });
                }};
}

PageCount OutgoingStreams::give(PageRange range) {
    CHECK(loop_.owned_here());
    const PageRange part = on_one_stream(range, options_.streams);
    Lane& lane = *lanes_[stream_of(range.first, options_.streams)];
    if (lane.waiting >= most_waiting)
        return {};
    lane.waiting += part.count;
    lane.given.push_back(part);
    return part.count;
}

void OutgoingStreams::deliver(unsigned round) {
    CHECK(loop_.owned_here());
    for (const auto& lane : lanes_) {
        if (lane->given.empty())
            continue;
        auto give = [stream = &*lane->stream, pages = std::exchange(lane->given, {}), round]() mutable {
            stream->give(std::move(pages), round);
        };
        (lane->thread ? lane->thread->loop() : loop_).post(std::move(give));
    }
}

void OutgoingStreams::end_round(unsigned round) {
    CHECK(loop_.owned_here());
    still_ending_ = static_cast<unsigned>(lanes_.size());
    for (const auto& lane : lanes_)
        (lane->thread ? lane->thread->loop() : loop_).post([stream = &*lane->stream, round] {
            stream->end_round(round);
        });
}

void OutgoingStreams::hurry() {
    CHECK(loop_.owned_here());
    for (const auto& lane : lanes_)
        (lane->thread ? lane->thread->loop() : loop_).post([stream = &*lane->stream] { stream->hurry(); });
}

void OutgoingStreams::sent(unsigned number, const Sent& what) {
    Lane& lane = *lanes_[number];
    lane.waiting = lane.waiting - what.taken;
    lane.wire = what.wire;
    if (stopped_)
        return;
    Sent seen = what;
    // They send at the same time.
    seen.took /= static_cast<double>(lanes_.size());
    callbacks_.sent(seen);
}

void OutgoingStreams::ended(unsigned number, const OutgoingStream::RoundEnd& end) {
    lanes_[number]->transcript = end.transcript;
    lanes_[number]->wire = end.wire;
    if (--still_ending_ == 0 && !stopped_)
        callbacks_.round_ended();
}

void OutgoingStreams::stop() {
    if (std::exchange(stopped_, true))
        return;
    for (const auto& lane : lanes_)
        lane->stream->stop();
    interrupt_.signal();
}

void OutgoingStreams::finish() {
    for (const auto& lane : lanes_)
        if (lane->thread)
            lane->thread->stop();
}

Transcript OutgoingStreams::transcript() const {
    Transcript all;
    for (std::size_t number = 1; number < lanes_.size(); ++number)
        all.add(lanes_[number]->transcript);
    return all;
}

ByteCount OutgoingStreams::wire() const {
    ByteCount all;
    for (std::size_t number = 1; number < lanes_.size(); ++number)
        all += lanes_[number]->wire;
    return all;
}

} // namespace aerate::migration
