// The balloons of guests that other monitors run: accepts front-ends, gives each guest a name, a thread and an API
// socket where `aerate ps` and the others look.
//
// Main loop.
#pragma once

#include "control/server.hpp"
#include "daemon/process_identity.hpp"
#include "daemon/vhost_user_guest.hpp"
#include "daemon/vhost_user_listener.hpp"
#include "event/acceptor.hpp"
#include "event/event_loop.hpp"

#include <sys/types.h>

#include <chrono>
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
        std::vector<uid_t> users;                      ///< may connect beside our own and root
        std::size_t guests_max = 64;                   ///< at a time; more are turned away
        std::size_t guests_per_process = 4;            ///< at a time, and as many that it can come back to
        ByteCount memory_per_process{};                ///< of its guests together; 0: as much as its user may have
        std::chrono::milliseconds silence_max{10'000}; ///< a front-end that has said nothing by then is sent away
        std::chrono::milliseconds without_memory_max{10'000}; ///< one without a guest's memory may lose its place then
        control::MemoryPolicy memory_policy{};                ///< of each guest, until it is told another
        std::filesystem::path api_directory;                  ///< of the sockets of the API
    };

    VhostUserDaemon(EventLoop&, std::vector<VhostUserListener>, Options);
    ~VhostUserDaemon();
    VhostUserDaemon(const VhostUserDaemon&) = delete;
    VhostUserDaemon& operator=(const VhostUserDaemon&) = delete;

    [[nodiscard]] std::size_t guests() const { return guests_.size(); }
    /// Guests that are gone and can come back.
    [[nodiscard]] std::size_t kept() const { return kept_.size(); }

private:
    struct NewConnection {
        FileDescriptor socket;
        PeerCredentials credentials;
        std::string called; ///< by the socket that it came to
    };
    struct Served {
        std::unique_ptr<VhostUserGuest> guest;
        std::unique_ptr<control::Server> server;
        std::string called;
        uid_t user = 0;
        std::optional<ProcessIdentity> front_end;
        std::optional<NewConnection>
            successor; ///< the same front-end's next connection, which came before this one was over
    };
    /// What is kept of a guest that is gone, for as long as the process that ran it exists: another process's guest
    /// is another guest, whatever it is called.
    struct Kept {
        ProcessIdentity front_end;
        vhost_user::KeptState state;
        FileDescriptor process; ///< a pidfd
        Subscription process_ended;
    };
    struct Listening {
        Listening(EventLoop&, VhostUserListener, VhostUserDaemon&);
        VhostUserListener listener;
        Acceptor acceptor;
    };
    void accepted(FileDescriptor, const std::string& called);
    void connected(NewConnection);
    [[nodiscard]] Served* predecessor_of(const NewConnection&);
    [[nodiscard]] Result<> serve(NewConnection, const std::string& name);
    [[nodiscard]] std::string free_name(const std::string& wanted) const;
    void ended(const std::string& name, const std::string& why, vhost_user::KeptState);
    void keep(const std::string& name, const ProcessIdentity&, vhost_user::KeptState);
    [[nodiscard]] const char* refuse(const NewConnection&) const;
    /// Returns how many may connect.
    [[nodiscard]] std::size_t users() const { return options_.users.size() + 1; }
    /// Returns this process's share of its user's share of the memory.
    [[nodiscard]] std::shared_ptr<vhost_user::MemoryBudget> budget_of(uid_t, const std::optional<ProcessIdentity>&);
    [[nodiscard]] Served* without_memory();

    EventLoop& loop_;
    Options options_;
    std::list<Listening> listening_;
    std::map<std::string, Served> guests_; ///< by name
    std::map<std::string, Kept> kept_;     ///< by name, for front-ends that connect again
    // Shares of the memory that all guests may have; a guest's part holds on to them.
    std::map<uid_t, std::weak_ptr<vhost_user::MemoryBudget>> user_budgets_;
    std::map<std::pair<uid_t, std::optional<ProcessIdentity>>, std::weak_ptr<vhost_user::MemoryBudget>>
        process_budgets_;
};

} // namespace aerate
