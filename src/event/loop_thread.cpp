#include "event/loop_thread.hpp"

#include "base/host.hpp"

namespace aerate {

Result<> LoopThread::start() {
    TRY(loop_.prepare());
    thread_ = TRY(host::start_thread(name_, [this](const std::stop_token&) { loop_.run(); }));
    return {};
}

void LoopThread::stop() {
    loop_.stop();
    if (thread_.joinable())
        thread_.join();
}

} // namespace aerate
