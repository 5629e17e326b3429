// Serves the page of "aerate host" over TCP. Lives on the event loop's thread.
//
//     auto server = TRY(web::Server::start(loop, {.listen = "127.0.0.1:9470"}, source));
//     output::print("{}", server.url());      // with the token: to be shown to the operator, and nobody else
//
// On loopback every user of the machine can connect, beyond it everybody who can reach the address; so a caller is
// nobody until it shows the token (guard.hpp), and what it may cost until then is bounded (options.hpp).
#pragma once

#include "base/error.hpp"
#include "event/event_loop.hpp"
#include "web/options.hpp"
#include "web/source.hpp"

#include <memory>
#include <string>

namespace aerate::web {

class Server {
public:
    /// `source` outlives this. Fails if the address is taken, or is not loopback and there is no certificate.
    [[nodiscard]] static Result<Server> start(EventLoop&, const Options&, Source& source);
    Server(Server&&) noexcept;
    Server& operator=(Server&&) noexcept;
    ~Server();

    /// Returns where the page is, with a token that was made behind the '#', which browsers send to nobody. One that
    /// was read is left out: whoever may know it has the file.
    [[nodiscard]] std::string url() const;
    /// Returns the address with the port that the system chose for 0.
    [[nodiscard]] std::string where() const;

private:
    struct Impl;
    explicit Server(std::shared_ptr<Impl>);
    std::shared_ptr<Impl> impl_;
};

} // namespace aerate::web
