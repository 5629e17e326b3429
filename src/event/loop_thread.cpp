#include "event/loop_thread.hpp"

#include "base/host.hpp"

namespace aerate {

Result<> LoopThread::start() {
    TRY(loop_.prepare());
    const auto run = [this](const std::stop_token&) { loop_.run(); };
    thread_ = TRY(kind_ != nullptr ? host::start_thread(*kind_, name_, run) : host::start_thread(name_, run));
    return {};
}

void LoopThread::stop() {
    loop_.stop();
    if (thread_.joinable())
        thread_.join();
}

} // namespace aerate
