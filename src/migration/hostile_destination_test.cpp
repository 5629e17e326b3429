// What a destination may say to do harm, against a source alone.
#include "migration/testing/wire.hpp"
#include "migration/wire/frame.hpp"
#include "migration/wire/messages.hpp"

#include <gtest/gtest.h>

namespace aerate::migration {
namespace {

using namespace testing;

/// A destination that lies: says what it is told to say, when it is told to.
class HostileDestination {
public:
    explicit HostileDestination(FileDescriptor socket)
        : channel_(std::move(socket), interrupt_)
        , writer_(channel_, 0, 1s)
        , reader_(channel_, 0) {
        print(writer_.begin(), Greeting{.session = session_});
        CHECK(writer_.send(FrameKind::greeting));
        writer_.set_session(session_);
        reader_.set_session(session_);
    }
    bool take_until(FrameKind kind) {
        for (auto frame = reader_.receive(1s); frame; frame = reader_.receive(1s))
            if (frame->kind == kind)
                return true;
        return false;
    }
    void say(FrameKind kind, std::span<const std::byte> payload = {}) { (void)writer_.send(kind, payload); }
    void say_ready(Sums sums) {
        print(writer_.begin(), sums);
        (void)writer_.send(FrameKind::ready);
    }
    [[nodiscard]] Sums honest() const { return {reader_.transcript().value, 0}; }
    void leave() { channel_.finish(0ms); }

private:
    EventFd interrupt_ = std::move(*EventFd::create());
    Session session_ = Session::random();
    SocketChannel channel_;
    FrameWriter writer_;
    FrameReader reader_;
};

TEST(HostileDestination, M14_ReadyWithoutHavingTheDataIsNotBelieved) {
    struct Lie {
        const char* what;
        std::function<void(HostileDestination&)> tell;
    };
    const std::vector<Lie> lies{
        {"unexpectedly", [](HostileDestination& hostile) { hostile.say_ready({}); }},
        {"unexpectedly", [](HostileDestination& hostile) { hostile.say(FrameKind::ack); }},
        {"checksums differ from what was sent",
         [](HostileDestination& hostile) {
             hostile.take_until(FrameKind::state_end);
             hostile.say_ready({hostile.honest().frames + 1, 0});
         }},
        {"checksums differ from what was sent",
         [](HostileDestination& hostile) {
             hostile.take_until(FrameKind::state_end);
             hostile.say(FrameKind::ready);
         }},
        {"unexpectedly",
         [](HostileDestination& hostile) {
             hostile.take_until(FrameKind::state_end);
             hostile.say(FrameKind::ack);
         }},
    };
    for (const Lie& lie : lies) {
        FakeSource from(tiny());
        auto sockets = unix_pair();
        RunningSource leaving(std::move(sockets.first), from, {});
        HostileDestination hostile(std::move(sockets.second));
        ASSERT_TRUE(hostile.take_until(FrameKind::hello));
        hostile.say(FrameKind::accept);
        lie.tell(hostile);
        const SourceResult result = leaving.wait();
        EXPECT_EQ(result.outcome, Outcome::stayed);
        EXPECT_NE(result.error.find(lie.what), std::string::npos) << result.error;
        EXPECT_TRUE(from.running());
    }
}

TEST(HostileDestination, M13_RequestsForPagesAreNoPartOfThis) {
    // There is no postcopy: whatever a destination asks for, once or in a flood, ends the migration.
    for (unsigned kind = 0; kind < 40; ++kind) {
        const auto asked = static_cast<FrameKind>(kind);
        if (asked == FrameKind::accept || asked == FrameKind::error)
            continue;
        FakeSource from(tiny());
        auto sockets = unix_pair();
        RunningSource leaving(std::move(sockets.first), from, {});
        HostileDestination hostile(std::move(sockets.second));
        ASSERT_TRUE(hostile.take_until(FrameKind::hello));
        hostile.say(FrameKind::accept);
        for (int i = 0; i < 10; ++i)
            hostile.say(asked);
        EXPECT_EQ(leaving.wait().outcome, Outcome::stayed);
        EXPECT_TRUE(from.running());
    }
}

TEST(HostileDestination, M10_PeerGoneAtEachStep) {
    for (const FrameKind last :
         {FrameKind::hello, FrameKind::round, FrameKind::pages, FrameKind::state, FrameKind::state_end}) {
        FakeSource from(tiny());
        auto sockets = unix_pair();
        RunningSource leaving(std::move(sockets.first), from, {});
        {
            HostileDestination hostile(std::move(sockets.second));
            if (last != FrameKind::hello) {
                ASSERT_TRUE(hostile.take_until(FrameKind::hello));
                hostile.say(FrameKind::accept);
            }
            ASSERT_TRUE(hostile.take_until(last));
        }
        const auto gone = std::chrono::steady_clock::now();
        EXPECT_EQ(leaving.wait().outcome, Outcome::stayed);
        EXPECT_LT(std::chrono::steady_clock::now() - gone, 500ms);
        EXPECT_TRUE(from.running());
    }
    // After GO only the lease could tell.
    FakeSource from(tiny());
    auto sockets = unix_pair();
    RunningSource leaving(std::move(sockets.first), from, {});
    {
        HostileDestination hostile(std::move(sockets.second));
        ASSERT_TRUE(hostile.take_until(FrameKind::hello));
        hostile.say(FrameKind::accept);
        ASSERT_TRUE(hostile.take_until(FrameKind::state_end));
        hostile.say_ready(hostile.honest());
        ASSERT_TRUE(hostile.take_until(FrameKind::go));
    }
    EXPECT_EQ(leaving.wait().outcome, Outcome::unknown);
    EXPECT_FALSE(from.running());
}

} // namespace
} // namespace aerate::migration
