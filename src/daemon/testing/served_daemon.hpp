// A daemon with a loop of its own, and front-ends that connect to it.
#pragma once

#include "base/check.hpp"
#include "base/testing/temporary_directory.hpp"
#include "base/unix_socket.hpp"
#include "control/client.hpp"
#include "control/listening_socket.hpp"
#include "control/runtime_directory.hpp"
#include "daemon/vhost_user_daemon.hpp"
#include "event/loop_thread.hpp"
#include "vhost_user/testing/served.hpp"

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace aerate::testing {

class ServedDaemon {
public:
    using Adjust = std::function<void(VhostUserDaemon::Options&)>;
    explicit ServedDaemon(std::size_t guests_max = 64, std::vector<uid_t> users = {}, const Adjust& adjust = {})
        : socket(directory_.path() / "web1.sock")
        , api(directory_.path() / "api") {
        CHECK(control::secure_directory(api).has_value());
        std::vector<VhostUserListener> listeners;
        auto listener = VhostUserListener::create(socket, !users.empty());
        CHECK(listener.has_value());
        listeners.push_back(*std::move(listener));
        start(std::move(listeners), guests_max, std::move(users), adjust);
    }
    ~ServedDaemon() {
        thread_.stop();
        daemon_.reset();
    }
    ServedDaemon(const ServedDaemon&) = delete;
    ServedDaemon& operator=(const ServedDaemon&) = delete;

    [[nodiscard]] std::unique_ptr<vhost_user::testing::FrontEnd> connect() const {
        auto connected = connect_unix(socket);
        if (!connected)
            return nullptr;
        ::fcntl(connected->get(), F_SETFL, 0);
        return std::make_unique<vhost_user::testing::FrontEnd>(*std::move(connected));
    }
    [[nodiscard]] std::size_t guests() {
        return thread_.loop().call([this] { return daemon_->guests(); });
    }
    [[nodiscard]] std::size_t kept() {
        return thread_.loop().call([this] { return daemon_->kept(); });
    }
    [[nodiscard]] std::vector<std::string> names_after(std::size_t count) {
        for (int i = 0; i < 5000 && guests() != count; ++i)
            ::usleep(1000);
        return control::list_vms(api);
    }
    [[nodiscard]] Result<std::string> call(const std::string& name, std::string_view method, std::string_view target,
                                           std::string_view body = {}) const {
        return control::Client(control::socket_path(api, name), std::chrono::seconds(5)).call(method, target, body);
    }

private:
    void start(std::vector<VhostUserListener> listeners, std::size_t guests_max, std::vector<uid_t> users,
               const Adjust& adjust) {
        VhostUserDaemon::Options options{.back_end = {.balloon = vhost_user::testing::everything},
                                         .users = std::move(users),
                                         .guests_max = guests_max,
                                         .api_directory = api};
        if (adjust)
            adjust(options);
        daemon_ = std::make_unique<VhostUserDaemon>(thread_.loop(), std::move(listeners), std::move(options));
        CHECK(thread_.start());
    }
    TemporaryDirectory directory_;

public:
    const std::filesystem::path socket;
    const std::filesystem::path api;

private:
    LoopThread thread_{"daemon"};
    std::unique_ptr<VhostUserDaemon> daemon_;
};

} // namespace aerate::testing
