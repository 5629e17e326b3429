#include "base/testing/sanitized.hpp"
#include "event/event_fd.hpp"
#include "event/event_loop.hpp"

#include <gtest/gtest.h>

#include <sys/resource.h>

#include <thread>

namespace aerate {
namespace {

using namespace std::chrono_literals;

struct RunningLoop {
    EventLoop loop;
    std::jthread thread{[this] { loop.run(); }};
    ~RunningLoop() { loop.stop(); }
};

TEST(EventLoop, CallRunsOnTheLoopThreadAndAnswers) {
    RunningLoop running;
    EXPECT_TRUE(running.loop.call([&] { return running.loop.on_loop_thread(); }));
    EXPECT_FALSE(running.loop.on_loop_thread());
    EXPECT_EQ(running.loop.call([&] { return running.loop.call([] { return 7; }); }), 7);
}

TEST(EventLoop, WatchCallsBackForEachSignalUntilCancelled) {
    RunningLoop running;
    auto event = EventFd::create();
    ASSERT_TRUE(event);
    std::promise<void> twice;
    int calls = 0;
    Subscription watch = running.loop.call([&] {
        return running.loop.watch(event->fd(), [&] {
            if (event->drain() && ++calls == 2)
                twice.set_value();
        });
    });
    event->signal();
    while (running.loop.call([&] { return calls; }) < 1)
        std::this_thread::yield();
    event->signal();
    twice.get_future().wait();
    running.loop.call([&] { watch.cancel(); });
    event->signal();
    EXPECT_EQ(running.loop.call([&] { return calls; }), 2);
}

TEST(EventLoop, ACallbackMayDropItsOwnSubscription) {
    RunningLoop running;
    std::promise<void> fired;
    Subscription timer;
    running.loop.call([&] {
        timer = running.loop.every(1ms, [&] {
            timer.cancel();
            fired.set_value(); // a second call would throw
        });
    });
    fired.get_future().wait();
    EXPECT_FALSE(running.loop.call([&] { return timer.active(); }));
}

TEST(EventLoop, ADescriptorMayBeClosedAndItsNumberReusedAfterCancel) {
    RunningLoop running;
    for (int round = 0; round < 3; ++round) {
        auto event = EventFd::create();
        ASSERT_TRUE(event);
        std::promise<void> seen;
        bool done = false;
        Subscription watch = running.loop.call([&] {
            return running.loop.watch(event->fd(), [&] {
                event->drain();
                if (!std::exchange(done, true))
                    seen.set_value();
            });
        });
        event->signal();
        EXPECT_EQ(seen.get_future().wait_for(5s), std::future_status::ready);
        running.loop.call([&] { watch.cancel(); });
    }
}

TEST(EventLoop, AProcessWithoutDescriptorsIsToldSo) {
    if (sanitized)
        GTEST_SKIP() << "SKIPPED: a sanitizer needs descriptors for itself";
    rlimit limit{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
    const auto event = EventFd::create();
    ASSERT_TRUE(event);
    EventLoop loop;
    const rlimit none{.rlim_cur = 0, .rlim_max = limit.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
    const auto refused = loop.try_watch(event->fd(), [] {});
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("cannot watch"), std::string::npos) << refused.error().message;
    EXPECT_TRUE(loop.try_watch(event->fd(), [] {}));
}

TEST(EventLoop, TimersFireInOrder) {
    RunningLoop running;
    std::string order;
    std::promise<void> last;
    std::vector<Subscription> timers;
    running.loop.call([&] {
        timers.push_back(running.loop.after(20ms, [&] {
            order += 'b';
            last.set_value();
        }));
        timers.push_back(running.loop.after(1ms, [&] { order += 'a'; }));
    });
    last.get_future().wait();
    EXPECT_EQ(running.loop.call([&] { return order; }), "ab");
    running.loop.call([&] { timers.clear(); });
}

TEST(EventLoop, RunsAgainAfterStopWithWhatIsStillWatchedAndPosted) {
    EventLoop loop;
    int ticks = 0;
    const Subscription timer = loop.every(1ms, [&] {
        if (++ticks % 3 == 0)
            loop.stop();
    });
    loop.run();
    EXPECT_EQ(ticks, 3);
    bool posted = false;
    loop.post([&] { posted = true; });
    loop.run();
    EXPECT_EQ(ticks, 6);
    EXPECT_TRUE(posted);
}

} // namespace
} // namespace aerate
