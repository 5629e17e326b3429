// The balloons of guests that other monitors run: accepts front-ends, gives each guest a name, a thread and an API
// socket where `aerate ps` and the others look.
//
// Main loop.
#pragma once

#include "control/server.hpp"
#include "event/event_loop.hpp"
#include "machine/process_identity.hpp"
#include "machine/vhost_user_guest.hpp"
#include "machine/vhost_user_listener.hpp"

#include <sys/types.h>

#include <filesystem>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace aerate {

class VhostUserDaemon {
public:
    struct Options {
        vhost_user::BackEndOptions back_end;
        std::vector<uid_t> users;            ///< may connect beside our own and root
        std::size_t guests_max = 64;         ///< at a time; more are turned away
        std::filesystem::path api_directory; ///< of the sockets of the API
    };

    VhostUserDaemon(EventLoop&, std::vector<VhostUserListener>, Options);
    ~VhostUserDaemon();
    VhostUserDaemon(const VhostUserDaemon&) = delete;
    VhostUserDaemon& operator=(const VhostUserDaemon&) = delete;

    [[nodiscard]] std::size_t guests() const { return guests_.size(); }

private:
    struct Arrival {
        FileDescriptor socket;
        control::PeerCredentials credentials;
        std::string called; ///< by the socket that it came to
    };
    struct Served {
        std::unique_ptr<VhostUserGuest> guest;
        std::unique_ptr<control::Server> server;
        std::string called;
        std::optional<ProcessIdentity> front_end;
        std::optional<Arrival> successor; ///< the same front-end's next connection, which came before this one was over
    };
    /// Of a guest that is gone, for the process that had it: another one's guest is another guest, whatever it is
    /// called.
    struct Kept {
        ProcessIdentity front_end;
        vhost_user::KeptState state;
    };
    struct Listening {
        VhostUserListener listener;
        Subscription acceptable;
    };
    [[nodiscard]] Result<> watch(Listening&);
    void watch_later();
    void accept(Listening&);
    void arrived(Arrival);
    [[nodiscard]] Served* leaving(const Arrival&);
    [[nodiscard]] Result<> serve(Arrival, const std::string& name);
    [[nodiscard]] std::string free_name(const std::string& wanted) const;
    void ended(const std::string& name, const std::string& why, vhost_user::KeptState);
    void keep(const std::string& name, Kept);

    EventLoop& loop_;
    Options options_;
    std::list<Listening> listening_;
    Subscription retry_;
    std::map<std::string, Served> guests_; ///< by name
    std::map<std::string, Kept> kept_;     ///< by name, for front-ends that connect again
};

} // namespace aerate
