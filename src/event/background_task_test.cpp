#include "base/testing/refusing_host.hpp"
#include "event/background_task.hpp"

#include <gtest/gtest.h>

#include <future>
#include <optional>
#include <thread>

namespace aerate {
namespace {

class BackgroundTasks : public ::testing::Test {
protected:
    using Task = BackgroundTask<int>;
    static constexpr confine::ThreadKind task_thread{.name = "disk", .calls = {}, .starts = {}};

    EventLoop loop_;
    /// What the work waits for, as it would for a disk that hangs.
    std::promise<int> disk_;
};

TEST_F(BackgroundTasks, TheLoopServesOthersMeanwhile) {
    std::optional<int> answer;
    std::thread::id answered_on;
    std::unique_ptr<Task> task = *Task::start(
        loop_, task_thread, [disk = disk_.get_future()]() mutable { return disk.get(); },
        [&](int result) {
            task.reset();
            answer = result;
            answered_on = std::this_thread::get_id();
            loop_.stop();
        });
    loop_.post([&] {
        EXPECT_FALSE(answer);
        disk_.set_value(7);
    });
    loop_.run();
    EXPECT_EQ(answer, 7);
    EXPECT_EQ(answered_on, std::this_thread::get_id());
}

TEST_F(BackgroundTasks, OneThatHangsIsGivenUp) {
    const std::shared_ptr<int> result = std::make_shared<int>(1);
    std::weak_ptr<int> left = result;
    auto hangs = std::make_shared<std::promise<void>>();
    {
        auto task = BackgroundTask<std::shared_ptr<int>>::start(
            loop_, task_thread,
            [hangs, result]() mutable {
                hangs->get_future().wait();
                return std::move(result);
            },
            [](const std::shared_ptr<int>&) { ADD_FAILURE() << "it was given up"; });
        ASSERT_TRUE(task);
    }
    loop_.post([this] { loop_.stop(); });
    loop_.run();
    hangs->set_value();
    EXPECT_TRUE(testing::soon([&] { return left.use_count() == 1; })) << "what came of it is gone";
    loop_.post([this] { loop_.stop(); });
    loop_.run();
}

TEST_F(BackgroundTasks, OneThatIsThroughCanStillBeGivenUp) {
    const std::size_t threads = testing::threads();
    auto task = Task::start(loop_, task_thread, [] { return 1; }, [](int) { ADD_FAILURE() << "it was given up"; });
    ASSERT_TRUE(task);
    ASSERT_TRUE(testing::threads_fall_to(threads));
    task->reset();
    loop_.post([this] { loop_.stop(); });
    loop_.run();
}

TEST_F(BackgroundTasks, S4_a_thread_that_is_refused_is_an_answer) {
    const testing::RefusingHost host(1, testing::RefusingHost::For::once, host::Resource::thread);
    const auto task = Task::start(loop_, task_thread, [] { return 1; }, [](int) { ADD_FAILURE() << "it never ran"; });
    ASSERT_FALSE(task);
    EXPECT_NE(task.error().message.find("cannot start the thread 'disk'"), std::string::npos);
}

} // namespace
} // namespace aerate
