// Serves the control interface over HTTP/1.1 on a unix socket. Lives on the event loop's thread.
//
//     auto server = TRY(Server::create(loop, socket_path(directory, "web1"),
//                                      [&](Request request, Server::Answer answer) { answer(machine.handle(request));
//                                      }));
//
// Only processes of the monitor's own user, and of root, are served: the directory is ours alone, so is the socket, and
// each caller's credentials are checked. Callers are still not trusted to be well-behaved: header, body, time and
// connections are bounded.
#pragma once

#include "base/error.hpp"
#include "control/listening_socket.hpp"
#include "control/reply.hpp"
#include "control/request.hpp"
#include "event/event_loop.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string_view>

namespace aerate::control {

struct ServerLimits {
    std::uint32_t header_bytes = 8 << 10;
    std::size_t header_fields = 64;
    std::uint64_t body_bytes = 51200; ///< Firecracker's default
    std::size_t connections = 64;
    std::size_t listeners = 8;                    ///< to events, beside those
    std::size_t event_bytes = 64 << 10;           ///< that may wait for one of them
    std::chrono::milliseconds keep_alive{15'000}; ///< between two things that a listener hears
    std::chrono::milliseconds header_deadline{5'000};
    std::chrono::milliseconds body_deadline{10'000};
    std::chrono::milliseconds write_deadline{10'000};
    std::chrono::milliseconds idle_deadline{60'000}; ///< between two requests of one connection
};

class Server {
public:
    /// Call it once, now or later, on any thread while the loop lives; dropped uncalled, the connection is closed.
    /// Small answers are in the caller's socket when it returns on the loop thread, so the process may end right after.
    using Answer = std::move_only_function<void(Reply)>;
    using Handler = std::move_only_function<void(Request, Answer)>;

    /// Answers at once, for a daemon that has other paths than a VM's.
    using Routes = std::function<HttpReply(std::string_view method, std::string_view target, std::string_view body)>;

    /// Listens in a directory that secure_directory() makes and checks, or in one that the operator has named. A socket
    /// left by a dead process is replaced;
    /// that of a live one is an error. The socket goes when the server does.
    [[nodiscard]] static Result<Server> create(EventLoop&, const std::filesystem::path& socket, Handler,
                                               const ServerLimits& = {}, SocketPlace = SocketPlace::own_directory);
    [[nodiscard]] static Result<Server> create(EventLoop&, const std::filesystem::path& socket, Routes);
    Server(Server&&) noexcept;
    Server& operator=(Server&&) noexcept;
    ~Server();

private:
    struct Impl;
    explicit Server(std::shared_ptr<Impl>);
    std::shared_ptr<Impl> impl_;
};

} // namespace aerate::control
