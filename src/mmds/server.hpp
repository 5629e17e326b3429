// Serves the guest's connections: bytes between sockets and sessions. Lives on the main loop.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "event/event_loop.hpp"
#include "mmds/answer.hpp"

#include <chrono>
#include <cstddef>
#include <memory>
#include <vector>

namespace aerate::mmds {

struct Limits {
    std::size_t connections = 32;       ///< one more ends the one that has been silent for longest
    std::chrono::seconds silence{30};   ///< after which a connection ends
    std::chrono::seconds last_bytes{2}; ///< that a guest has to take them, when it has said its last
};

class Server {
public:
    /// The listeners stay open while this lives. Fails when the host refuses a watch, or has no randomness.
    [[nodiscard]] static Result<std::unique_ptr<Server>>
    create(EventLoop&, const std::vector<std::shared_ptr<const FileDescriptor>>&, std::shared_ptr<const Store>,
           const control::MmdsConfig&, std::shared_ptr<Counters>, const Limits& = {});
    ~Server();
    [[nodiscard]] std::size_t connections() const;

private:
    struct Impl;
    explicit Server(std::unique_ptr<Impl>);
    std::unique_ptr<Impl> impl_;
};

} // namespace aerate::mmds
