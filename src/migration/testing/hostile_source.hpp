// A source that sends what it likes, against a destination alone.
#pragma once

#include "migration/testing/script.hpp"
#include "migration/testing/wire.hpp"
#include "migration/wire/frame.hpp"
#include "migration/wire/messages.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>

namespace aerate::migration::testing {

struct Answer {
    bool ran = false;
    std::string error;
    std::string said; ///< what the destination told the source
    bool prepared = false;
};

/// Sends all, and nothing more. Fits into a socket's buffer, or is sent by a thread.
inline Answer receive(std::span<const std::byte> stream, DestinationOptions options = {}) {
    auto [ours, theirs] = unix_pair();
    if (!options.session)
        options.session = known_session();
    FakeDestination guest;
    const auto send = [&, fd = ours.get()] {
        std::span<const std::byte> left = stream;
        while (!left.empty()) {
            const ssize_t sent = ::send(fd, left.data(), left.size(), MSG_NOSIGNAL);
            if (sent <= 0)
                break;
            left = left.subspan(static_cast<std::size_t>(sent));
        }
        (void)::shutdown(fd, SHUT_WR);
    };
    std::optional<std::jthread> sender;
    if (stream.size() > (64U << 10))
        sender.emplace(send);
    else
        send();
    Answer outcome;
    {
        Destination destination(std::move(theirs), guest, options);
        const auto report = destination.receive();
        outcome.ran = guest.running;
        EXPECT_EQ(report.has_value(), guest.running);
        if (!report)
            outcome.error = report.error().message;
    }
    sender.reset();
    outcome.prepared = guest.discards > 0 || guest.running;
    EXPECT_TRUE(guest.running || guest.memory() == nullptr);
    const EventFd never = std::move(*EventFd::create());
    SocketChannel channel(std::move(ours), never);
    FrameReader reader(channel, 0);
    for (auto frame = reader.receive(0ms); frame; frame = reader.receive(0ms)) {
        if (frame->kind == FrameKind::greeting)
            reader.set_session(*options.session);
        if (frame->kind == FrameKind::error)
            outcome.said = parse_error(frame->payload);
    }
    return outcome;
}

inline void expect_refused(Script& script, const char* why) {
    const Answer outcome = receive(script.stream());
    EXPECT_FALSE(outcome.ran) << why;
    EXPECT_NE(outcome.error.find(why), std::string::npos) << outcome.error << ", not: " << why;
    EXPECT_EQ(outcome.said, outcome.error);
}

} // namespace aerate::migration::testing
