// A guest of another monitor that has its balloon here: the session with its front-end on a thread of its own, and the
// API that a VM of ours would have, with what can be done for it.
//
// Main loop, but for what runs on the guest's thread: the session, the balloon, discards.
#pragma once

#include "control/peer.hpp"
#include "control/request.hpp"
#include "control/server.hpp"
#include "event/loop_thread.hpp"
#include "machine/squeezer.hpp"
#include "vhost_user/session.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace aerate {

class VhostUserGuest {
public:
    struct Options {
        std::string name;
        control::PeerCredentials front_end;
        vhost_user::BackEndOptions back_end;
        std::optional<vhost_user::KeptState> kept; ///< of this front-end's earlier connection
    };

    /// Serves the front-end at the other end of `socket`. `ended` comes on the main loop, once, with the reason.
    [[nodiscard]] static Result<std::unique_ptr<VhostUserGuest>>
    create(EventLoop& main_loop, FileDescriptor socket, Options, std::function<void(std::string why)> ended);
    ~VhostUserGuest();

    void handle(const control::Request&, control::Server::Answer);
    /// Ends the session, and tells what to keep. Nothing else may be called afterwards.
    [[nodiscard]] vhost_user::KeptState stop();

    [[nodiscard]] const std::string& name() const { return options_.name; }

private:
    VhostUserGuest(EventLoop& main_loop, Options, std::function<void(std::string why)> ended);
    [[nodiscard]] Result<> begin(FileDescriptor socket);
    template <typename F>
    void on_guest_thread(control::Server::Answer, F);
    void report_status(std::move_only_function<void(control::VmStatus)>);
    void set_balloon_target(ByteCount, control::Server::Answer);
    void squeeze(ByteCount keep, control::Server::Answer);
    [[nodiscard]] control::VmConfig config();
    [[nodiscard]] control::VmStatus status();

    EventLoop& main_loop_;
    Options options_;
    std::function<void(std::string why)> ended_;
    std::chrono::steady_clock::time_point connected_ = std::chrono::steady_clock::now();
    LoopThread thread_;
    /// The main loop outlives a guest: what is posted there looks here first.
    std::shared_ptr<const int> alive_ = std::make_shared<const int>();

    // The guest's thread.
    std::unique_ptr<vhost_user::Session> session_;
    std::unique_ptr<Squeezer> squeezer_; ///< of the balloon there is now; goes before it
};

} // namespace aerate
