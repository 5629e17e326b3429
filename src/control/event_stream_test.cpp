// GET /aerate/events, with listeners that do what no good one would.
#include "base/unix_socket.hpp"
#include "control/client.hpp"
#include "control/testing/server_test.hpp"
#include "control/vm_event.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <string>
#include <thread>
#include <vector>

namespace aerate::control {
namespace {

using namespace std::chrono_literals;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// Listens by hand.
class Listener {
public:
    explicit Listener(const std::filesystem::path& path) {
        auto fd = connect_unix(path);
        EXPECT_TRUE(fd);
        if (fd)
            fd_ = *std::move(fd);
        const timeval limit{20, 0};
        ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        ::fcntl(fd_.get(), F_SETFL, 0);
        say("GET /aerate/events HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    void say(std::string_view text) { (void)!::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL); }
    /// Reads up to what is waited for, or to the end.
    std::string read_until(std::string_view end) {
        std::string text;
        while (text.find(end) == std::string::npos && read_some(text)) {
        }
        return text;
    }
    /// Reads until the server hangs up.
    std::string read_all() {
        std::string text;
        while (read_some(text)) {
        }
        return text;
    }

private:
    bool read_some(std::string& text) {
        std::array<char, 4096> chunk;
        const ssize_t got = ::recv(fd_.get(), chunk.data(), chunk.size(), 0);
        if (got > 0)
            text.append(chunk.data(), static_cast<std::size_t>(got));
        return got > 0;
    }
    FileDescriptor fd_;
};

class EventStreamTest : public testing::ServerTest {
protected:
    void publish(std::string text) {
        loop_.call([&] { feed_->publish(std::move(text)); });
    }
    [[nodiscard]] bool heard() {
        return loop_.call([this] { return feed_->heard(); });
    }
    /// A listener that has heard the first event, so that it is in the feed.
    Listener listener() {
        Listener made(socket());
        EXPECT_THAT(made.read_until("\n\n"), HasSubstr("200 OK"));
        return made;
    }
};

TEST_F(EventStreamTest, TheFirstEventIsTheStateAndOthersFollow) {
    ASSERT_TRUE(start());
    Listener one(socket());
    const std::string first = one.read_until("\n\n");
    EXPECT_THAT(first, StartsWith("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"));
    EXPECT_THAT(first, EndsWith("\r\n\r\nevent: state\ndata: {\"state\":\"Running\"}\n\n"));
    Listener two = listener();
    publish(print_event(PermitLapsedEvent{{5}, {4}}));
    for (Listener* hears : {&one, &two})
        EXPECT_EQ(hears->read_until("\n\n"), "event: permit_lapsed\ndata: {\"actual_bytes\":4,\"target_bytes\":5}\n\n");
}

TEST_F(EventStreamTest, AReasonEndsNoEvent) {
    const std::string text = print_event(StateEvent{VmState::crashed, "a\nevent: distress\n\nb"});
    EXPECT_EQ(std::ranges::count(text, '\n'), 3);
}

TEST_F(EventStreamTest, AnIdleListenerIsKeptWithComments) {
    ASSERT_TRUE(start({.keep_alive = 30ms, .header_deadline = 50ms, .write_deadline = 200ms, .idle_deadline = 50ms}));
    Listener patient = listener();
    std::string comments;
    while (comments.size() < 40)
        comments += patient.read_until("\n\n");
    EXPECT_THAT(comments, StartsWith(": \n\n: \n\n"));
    EXPECT_TRUE(heard());
}

TEST_F(EventStreamTest, H11_AHundredListenersAreNoMoreThanEight) {
    ASSERT_TRUE(start());
    std::vector<Listener> places;
    for (int i = 0; i < 8; ++i)
        places.push_back(listener());
    for (int i = 0; i < 92; ++i)
        EXPECT_THAT(Listener(socket()).read_until("\"}"), HasSubstr("503"));
    EXPECT_TRUE(Client(socket()).call("GET", "/")) << "callers have places of their own";
    places.pop_back();
    for (bool taken = false; !taken;) // as soon as the server has seen that one is gone
        taken = Listener(socket()).read_until("\n\n").contains("event: state");
}

TEST_F(EventStreamTest, H11_ListenersDoNotCountAsCallers) {
    ASSERT_TRUE(start({.connections = 2}));
    std::vector<Listener> listeners;
    for (int i = 0; i < 8; ++i)
        listeners.push_back(listener());
    EXPECT_TRUE(Client(socket()).call("GET", "/"));
}

TEST_F(EventStreamTest, H11_ASlowListenerIsHungUpOn) {
    ASSERT_TRUE(start({.event_bytes = 64 << 10}));
    Listener slow = listener();
    Listener good = listener();
    const std::string event = "event: x\ndata: " + std::string(1000, '1') + "\n\n";
    std::size_t sent = 0;
    while (sent < 4U << 20) { // more than a socket holds and than may wait
        publish(event);
        EXPECT_EQ(good.read_until("\n\n").size(), event.size());
        sent += event.size();
    }
    EXPECT_LT(slow.read_all().size(), sent) << "and sees that its connection is closed";
    EXPECT_TRUE(heard()) << "the other one is still there";
}

TEST_F(EventStreamTest, H11_AListenerThatLeavesInTheMiddleIsForgotten) {
    ASSERT_TRUE(start());
    {
        Listener leaves = listener();
        publish("event: x\ndata: {}\n\n");
    }
    while (heard())
        std::this_thread::yield();
    publish("event: x\ndata: {}\n\n");
    EXPECT_TRUE(Client(socket()).call("GET", "/"));
}

TEST_F(EventStreamTest, H11_AListenerWhoTalksIsHungUpOn) {
    ASSERT_TRUE(start());
    Listener talks = listener();
    talks.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(talks.read_all(), "");
    EXPECT_FALSE(heard());
}

TEST_F(EventStreamTest, TheServerGoesWithItsListeners) {
    ASSERT_TRUE(start());
    Listener left = listener();
    loop_.call([this] { server_.reset(); });
    EXPECT_EQ(left.read_all(), "");
}

} // namespace
} // namespace aerate::control
