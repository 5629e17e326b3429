// A guest of another monitor that has its balloon here: the session with its front-end on a thread of its own, and the
// API that a VM of ours would have, with what can be done for it.
//
// Main loop, but for what runs on the guest's thread: the session, the balloon, discards.
#pragma once

#include "base/peer.hpp"
#include "control/request.hpp"
#include "control/server.hpp"
#include "event/loop_thread.hpp"
#include "reclaim/balloon_care.hpp"
#include "reclaim/squeezer.hpp"
#include "vhost_user/session.hpp"

#include <atomic>
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
        PeerCredentials front_end;
        vhost_user::BackEndOptions back_end;
        std::optional<vhost_user::KeptState> kept;       ///< of this front-end's earlier connection
        std::chrono::milliseconds silence_max{};         ///< of a front-end that says nothing at all
        std::optional<control::SandboxStatus> sandbox{}; ///< of the daemon
        control::MemoryPolicy memory_policy{};
    };

    /// The connection is over, and the device has come to rest. On the main loop, once; the guest may be destroyed in
    /// it, which waits for nothing then.
    using Ended = std::function<void(std::string why, vhost_user::KeptState)>;

    /// Serves the front-end at the other end of `socket`.
    [[nodiscard]] static Result<std::unique_ptr<VhostUserGuest>> create(EventLoop& main_loop, FileDescriptor socket,
                                                                        Options, Ended);
    ~VhostUserGuest();

    /// Carries out a request. Answers with an error, at once, when the guest is gone before it is done.
    void handle(const control::Request&, control::Server::Answer);
    /// Returns whether the connection has ended, though Ended may still have to come.
    [[nodiscard]] bool hung_up() const;
    /// Returns since when the front-end has been connected without sharing memory; nothing once it has shared it.
    [[nodiscard]] std::optional<std::chrono::steady_clock::time_point> without_memory_since() const;
    /// Ends the connection; Ended says when it is over.
    void send_away(std::string why);

private:
    VhostUserGuest(EventLoop& main_loop, Options, Ended);
    [[nodiscard]] Result<> begin(FileDescriptor socket);
    [[nodiscard]] vhost_user::KeptState leave();
    template <typename F>
    void on_guest_thread(control::Server::Answer, F);
    void set_balloon_target(ByteCount, control::Server::Answer);
    void squeeze(ByteCount keep, control::Server::Answer);
    void permit(const control::PutPermit&, control::Server::Answer);
    [[nodiscard]] control::Reply set_memory_policy(const control::MemoryPolicy&, vhost_user::BackEnd&);
    [[nodiscard]] control::Pulse pulse(vhost_user::BackEnd&);
    void take_care();
    void tell_state(vhost_user::BackEnd&);
    [[nodiscard]] static control::VmState state(vhost_user::BackEnd&);
    /// Returns the policy, with a floor if the size of the guest is known.
    [[nodiscard]] control::MemoryPolicy policy(vhost_user::BackEnd&) const;
    [[nodiscard]] control::VmConfig config(vhost_user::BackEnd&);
    [[nodiscard]] control::VmStatus status(vhost_user::BackEnd&);

    EventLoop& main_loop_;
    Options options_;
    Ended ended_;
    FileDescriptor connection_;            ///< another descriptor of the session's socket
    bool serving_ = false;                 ///< the guest's thread runs
    std::atomic<bool> memory_seen_{false}; ///< set by the guest's thread
    std::chrono::steady_clock::time_point connected_ = std::chrono::steady_clock::now();
    std::shared_ptr<control::EventFeed> events_ = std::make_shared<control::EventFeed>(); ///< main loop's
    LoopThread thread_;
    /// The main loop outlives a guest: what is posted there looks here first.
    std::shared_ptr<const int> alive_ = std::make_shared<const int>();

    // The guest's thread.
    std::unique_ptr<vhost_user::Session> session_; ///< nothing once the connection is over
    std::unique_ptr<Squeezer> squeezer_;           ///< of the balloon there is now; goes before it
    std::unique_ptr<BalloonCare> care_;            ///< likewise
    control::VmState told_state_ = control::VmState::not_started;
    Subscription silence_; ///< ends when the front-end must have said something
};

} // namespace aerate
