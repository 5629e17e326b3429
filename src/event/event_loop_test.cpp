#include "base/testing/refusing_host.hpp"
#include "base/testing/sanitized.hpp"
#include "event/event_fd.hpp"
#include "event/event_loop.hpp"
#include "event/loop_thread.hpp"

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
    EXPECT_EQ(refused.error().message, "cannot create the descriptors of an event loop: Too many open files")
        << "without the words of a library";
    EXPECT_EQ(refused.error().system_error, EMFILE);
    EXPECT_TRUE(loop.try_watch(event->fd(), [] {}));
}

TEST(EventLoopDeathTest, C26_what_belongs_to_a_running_loop_is_its_threads_alone) {
    if (sanitized)
        GTEST_SKIP() << "SKIPPED: a sanitizer's own threads do not survive the fork";
    EXPECT_DEATH(
        {
            RunningLoop running;
            running.loop.call([] {});
            (void)running.loop.after(1ms, [] {});
        },
        "owned_here");
}

TEST(EventLoop, C26_a_loop_that_does_not_run_is_its_owners) {
    EventLoop loop;
    EXPECT_TRUE(loop.owned_here());
    const Subscription timer = loop.after(0ms, [&] {
        EXPECT_TRUE(loop.owned_here());
        std::jthread([&] { EXPECT_FALSE(loop.owned_here()); }).join();
        loop.stop();
    });
    loop.run();
    EXPECT_TRUE(loop.owned_here());
}

TEST(EventLoop, S4_a_watch_that_the_host_refuses_is_asked_for_again) {
    RunningLoop running;
    ASSERT_TRUE(running.loop.call([&] { return running.loop.prepare(); }));
    const auto event = EventFd::create();
    ASSERT_TRUE(event);
    event->signal();
    std::promise<void> seen;
    Subscription watch;
    {
        const testing::RefusingHost host(1, testing::RefusingHost::For::good);
        watch = running.loop.call([&] {
            return running.loop.watch(event->fd(), [&] {
                (void)event->drain();
                seen.set_value();
            });
        });
        EXPECT_TRUE(host.refused());
    }
    EXPECT_EQ(seen.get_future().wait_for(10s), std::future_status::ready);
    running.loop.call([&] { watch.cancel(); });
}

TEST(EventLoop, S4_an_exception_of_a_callback_ends_neither_the_loop_nor_the_watch) {
    RunningLoop running;
    const auto event = EventFd::create();
    ASSERT_TRUE(event);
    std::promise<void> twice;
    int calls = 0;
    Subscription watch = running.loop.call([&] {
        return running.loop.watch(event->fd(), [&] {
            (void)event->drain();
            if (++calls == 2)
                return twice.set_value();
            event->signal();
            throw std::bad_alloc();
        });
    });
    running.loop.post([] { throw std::bad_alloc(); });
    event->signal();
    EXPECT_EQ(twice.get_future().wait_for(10s), std::future_status::ready);
    running.loop.call([&] { watch.cancel(); });
}

TEST(LoopThread, S4_a_refused_start_is_an_error_and_can_be_tried_again) {
    const std::size_t descriptors = testing::open_descriptors();
    const std::size_t before = testing::threads();
    std::uint64_t refusals = 0;
    {
        LoopThread thread("test");
        std::promise<void> served;
        thread.loop().post([&] { served.set_value(); });
        refusals = testing::for_each_refusal(
            testing::RefusingHost::For::once, [&] { return thread.start(); },
            [&](const auto& result, std::uint64_t) { EXPECT_FALSE(result); });
        EXPECT_EQ(served.get_future().wait_for(10s), std::future_status::ready);
    }
    EXPECT_EQ(refusals, 2U) << "its loop's descriptors and the thread";
    EXPECT_TRUE(testing::descriptors_fall_to(descriptors));
    EXPECT_TRUE(testing::threads_fall_to(before));
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
