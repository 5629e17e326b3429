#include "event/acceptor.hpp"

#include "base/check.hpp"
#include "base/unix_socket.hpp"

#include <cerrno>
#include <chrono>
#include <utility>

namespace aerate {

Acceptor::Acceptor(EventLoop& loop, int listening, Accepted accepted)
    : loop_(loop)
    , listening_(listening)
    , accepted_(std::move(accepted)) {}

Result<> Acceptor::start() {
    CHECK(loop_.owned_here());
    readable_ = TRY(loop_.try_watch(listening_, [this] { accept(); }));
    return {};
}

void Acceptor::start_later() {
    CHECK(loop_.owned_here());
    constexpr std::chrono::milliseconds pause{100};
    readable_.cancel();
    retry_ = loop_.after(pause, [this] {
        if (!start())
            start_later();
    });
}

void Acceptor::accept() {
    FileDescriptor peer = accept_connection(listening_);
    if (peer.valid())
        return accepted_(std::move(peer));
    if (lacks_descriptors(errno))
        start_later();
}

} // namespace aerate
