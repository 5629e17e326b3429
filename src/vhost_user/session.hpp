// One connection of a front-end: takes its requests, checks what each may be, and has the back-end carry it out.
//
// A request is one row of a table: how long its payload is, how many descriptors come with it, which protocol feature
// it needs. What breaks that ends the connection. What is well-formed and cannot be done is answered with an error
// where the front-end asked for an answer (NEED_REPLY), and else ends the connection too: the front-end is not left in
// doubt.
//
// All on the loop's thread.
#pragma once

#include "event/event_loop.hpp"
#include "vhost_user/back_end.hpp"
#include "vhost_user/message_socket.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace aerate::vhost_user {

struct SessionCounters {
    std::uint64_t messages = 0;
    std::uint64_t refused = 0; ///< well-formed, and answered with an error
};

class Session {
public:
    struct Events {
        std::function<void()> replacing; ///< BackEnd::Events
        /// Called once when the connection has ended, with the reason in words; posted, so the session may be destroyed
        /// in it.
        std::function<void(std::string why)> ended;
    };

    [[nodiscard]] static Result<std::unique_ptr<Session>>
    create(EventLoop&, FileDescriptor socket, const BackEndOptions&, Events, std::optional<KeptState> = std::nullopt);
    [[nodiscard]] BackEnd& back_end() { return *back_end_; }
    [[nodiscard]] const SessionCounters& counters() const { return counters_; }

    /// Ends the connection, for a reason of our own. On the loop.
    void hang_up(std::string why) { end(std::move(why)); }

    /// Handles one message, as it would come from the socket; an error ends the connection. For the fuzzer.
    [[nodiscard]] Result<> handle(Message);

private:
    struct Answer {
        std::vector<std::byte> payload;
        FileDescriptor fd;
    };
    /// Nothing: the request has no answer of its own.
    using Outcome = Result<std::optional<Answer>>;
    struct Rule {
        RequestCode request;
        std::uint32_t size_min;
        std::uint32_t size_max;
        std::size_t fds_min;
        std::size_t fds_max;
        std::uint64_t needs; ///< a protocol feature
        Outcome (Session::*carry_out)(Message&);
    };
    static const Rule rules[];

    Session(EventLoop& loop, FileDescriptor socket, Events events)
        : loop_(loop)
        , events_(std::move(events))
        , socket_(std::move(socket)) {}
    void readable();
    void end(std::string why);
    [[nodiscard]] Result<> acknowledge(const Message&, bool success);
    [[nodiscard]] bool uses(std::uint64_t feature) const { return (protocol_features_ & feature) != 0; }

    Outcome get_features(Message&);
    Outcome set_features(Message&);
    Outcome get_protocol_features(Message&);
    Outcome set_protocol_features(Message&);
    Outcome nothing(Message&);
    Outcome reset_owner(Message&);
    Outcome reset_device(Message&);
    Outcome get_queue_num(Message&);
    Outcome get_max_mem_slots(Message&);
    Outcome set_mem_table(Message&);
    Outcome add_mem_reg(Message&);
    Outcome rem_mem_reg(Message&);
    Outcome set_log_base(Message&);
    Outcome set_log_fd(Message&);
    Outcome set_vring_num(Message&);
    Outcome set_vring_addr(Message&);
    Outcome set_vring_base(Message&);
    Outcome get_vring_base(Message&);
    Outcome set_vring_kick(Message&);
    Outcome set_vring_call(Message&);
    Outcome set_vring_err(Message&);
    Outcome set_vring_enable(Message&);
    Outcome set_backend_req_fd(Message&);
    Outcome get_config(Message&);
    Outcome set_config(Message&);
    Outcome get_inflight_fd(Message&);
    Outcome set_inflight_fd(Message&);
    Outcome set_status(Message&);
    Outcome get_status(Message&);

    EventLoop& loop_;
    Events events_;
    MessageSocket socket_;
    std::unique_ptr<BackEnd> back_end_;
    std::uint64_t protocol_features_ = 0;
    SessionCounters counters_;
    bool ended_ = false;
    Subscription watch_;
    std::shared_ptr<const int> alive_ = std::make_shared<const int>();
};

} // namespace aerate::vhost_user
