#include "event/loop_thread.hpp"

#include <pthread.h>

#include <system_error>

namespace aerate {

void LoopThread::start() {
    thread_ = std::jthread([this] {
        pthread_setname_np(pthread_self(), name_.c_str());
        loop_.run();
    });
}

Result<> LoopThread::try_start() {
    try {
        start();
        return {};
    } catch (const std::system_error& refused) {
        return fail("cannot start a thread: {}", refused.what());
    }
}

void LoopThread::stop() {
    loop_.stop();
    if (thread_.joinable())
        thread_.join();
}

} // namespace aerate
