#include "event/loop_thread.hpp"

#include <pthread.h>

namespace aerate {

void LoopThread::start() {
    thread_ = std::jthread([this] {
        pthread_setname_np(pthread_self(), name_.c_str());
        loop_.run();
    });
}

void LoopThread::stop() {
    loop_.stop();
    if (thread_.joinable())
        thread_.join();
}

} // namespace aerate
