// V12, and what a daemon is beside its sessions: names, credentials, the API of each guest, sockets that are handed
// over.
#include "base/testing/sanitized.hpp"
#include "base/testing/temporary_directory.hpp"
#include "control/client.hpp"
#include "control/listening_socket.hpp"
#include "control/runtime_directory.hpp"
#include "event/loop_thread.hpp"
#include "machine/vhost_user_daemon.hpp"
#include "vhost_user/testing/served.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/un.h>
#include <sys/wait.h>

namespace aerate {
namespace {

using namespace std::chrono_literals;
using vhost_user::testing::FrontEnd;

class Daemon {
public:
    explicit Daemon(std::size_t guests_max = 64, std::vector<uid_t> users = {})
        : socket(directory_.path() / "web1.sock")
        , api(directory_.path() / "api") {
        CHECK(control::secure_directory(api).has_value());
        std::vector<VhostUserListener> listeners;
        auto listener = VhostUserListener::create(socket, !users.empty());
        CHECK(listener.has_value());
        listeners.push_back(*std::move(listener));
        start(std::move(listeners), guests_max, std::move(users));
    }
    ~Daemon() {
        thread_.stop();
        daemon_.reset();
    }
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;

    [[nodiscard]] std::unique_ptr<FrontEnd> connect() const {
        auto connected = control::connect_to(socket);
        if (!connected)
            return nullptr;
        ::fcntl(connected->get(), F_SETFL, 0);
        return std::make_unique<FrontEnd>(*std::move(connected));
    }
    [[nodiscard]] std::size_t guests() {
        return thread_.loop().call([this] { return daemon_->guests(); });
    }
    [[nodiscard]] std::vector<std::string> names_after(std::size_t count) {
        for (int i = 0; i < 5000 && guests() != count; ++i)
            ::usleep(1000);
        return control::list_vms(api);
    }
    [[nodiscard]] Result<std::string> call(const std::string& name, std::string_view method, std::string_view target,
                                           std::string_view body = {}) const {
        return control::Client(control::socket_path(api, name), 5s).call(method, target, body);
    }

private:
    void start(std::vector<VhostUserListener> listeners, std::size_t guests_max, std::vector<uid_t> users) {
        daemon_ = std::make_unique<VhostUserDaemon>(
            thread_.loop(), std::move(listeners),
            VhostUserDaemon::Options{.back_end = {.balloon = vhost_user::testing::everything},
                                     .users = std::move(users),
                                     .guests_max = guests_max,
                                     .api_directory = api});
        thread_.start();
    }
    TemporaryDirectory directory_;

public:
    const std::filesystem::path socket;
    const std::filesystem::path api;

private:
    LoopThread thread_{"daemon"};
    std::unique_ptr<VhostUserDaemon> daemon_;
};

/// Whether a process of that user is served.
bool served_as(uid_t user, const std::filesystem::path& socket) {
    const pid_t child = ::fork();
    if (child == 0) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, socket.c_str(), sizeof(address.sun_path) - 1);
        const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (::setuid(user) != 0 || ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
            ::_exit(2);
        const FrontEnd front{FileDescriptor(fd)};
        ::_exit(front.settled() ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(VhostUserDaemon, GuestsAreCalledByTheirSocketAndCountedThroughTheApi) {
    Daemon daemon;
    const auto first = daemon.connect();
    const auto second = daemon.connect();
    ASSERT_TRUE(first->settled() && second->settled());
    EXPECT_THAT(daemon.names_after(2), ::testing::ElementsAre("web1", "web1-2"));
    const auto status = daemon.call("web1", "GET", "/aerate/status");
    ASSERT_TRUE(status) << status.error().message;
    EXPECT_THAT(*status, ::testing::HasSubstr("\"Not started\""));
    first->hang_up();
    EXPECT_THAT(daemon.names_after(1), ::testing::ElementsAre("web1-2"));
    const auto third = daemon.connect();
    ASSERT_TRUE(third->settled());
    EXPECT_THAT(daemon.names_after(2), ::testing::ElementsAre("web1", "web1-2"));
}

TEST(VhostUserDaemon, WhatTheFrontEndHasToDoIsRefusedWithTheReason) {
    Daemon daemon;
    const auto front = daemon.connect();
    ASSERT_TRUE(front->settled());
    ASSERT_EQ(daemon.names_after(1).size(), 1U); // its API is there when the main loop knows of it
    const auto refusal = [&](std::string_view method, std::string_view target, std::string_view body = {}) {
        const auto answer = daemon.call("web1", method, target, body);
        return answer ? "done" : answer.error().message;
    };
    EXPECT_THAT(refusal("PUT", "/aerate/sweep"), ::testing::HasSubstr("dirty log"));
    EXPECT_THAT(refusal("PATCH", "/vm", R"({"state": "Paused"})"), ::testing::HasSubstr("monitor"));
    EXPECT_THAT(refusal("PUT", "/aerate/stop", R"({"how": "kill"})"), ::testing::HasSubstr("monitor"));
    EXPECT_THAT(refusal("PUT", "/aerate/snapshot", R"({"snapshot_path": "x"})"), ::testing::HasSubstr("monitor"));
    EXPECT_THAT(refusal("PATCH", "/balloon", R"({"amount_mib": 1})"), ::testing::HasSubstr("memory is not known"));
    EXPECT_THAT(refusal("PUT", "/aerate/squeeze", R"({"keep_mib": 1})"), ::testing::HasSubstr("memory is not known"));
    EXPECT_THAT(refusal("PATCH", "/balloon/hinting/start"), ::testing::HasSubstr("driver"));
    EXPECT_NE(refusal("PUT", "/boot-source", R"({"kernel_image_path": "x"})"), "done");
    EXPECT_EQ(refusal("GET", "/vm/config"), "done");
    EXPECT_EQ(refusal("GET", "/metrics"), "done");
}

TEST(VhostUserDaemon, ATargetOutlivesItsFrontEndsConnection) {
    Daemon daemon;
    const vhost_user::testing::SharedRam ram(0, 32U << 20);
    for (int life = 0; life < 2; ++life) {
        const auto front = daemon.connect();
        ASSERT_TRUE(front->negotiate(vhost_user::testing::split_guest));
        ASSERT_EQ(front->share_memory({&ram}), true);
        ASSERT_EQ(daemon.names_after(1).size(), 1U);
        if (life == 0) {
            ASSERT_TRUE(daemon.call("web1", "PATCH", "/balloon", R"({"amount_mib": 8})"));
        }
        EXPECT_EQ(front->read_config(0), 2048U);
        front->hang_up();
        EXPECT_TRUE(daemon.names_after(0).empty());
    }
}

TEST(VhostUserDaemon, V10_WhatIsKeptIsForTheProcessThatHadItAlone) {
    using namespace vhost_user::testing;
    Daemon daemon;
    const SharedRam ram(0, 32U << 20);
    const auto target_seen = [&](FrontEnd& front) -> std::optional<std::uint32_t> {
        if (!front.negotiate(split_guest) || front.share_memory({&ram}) != true)
            return std::nullopt;
        return front.read_config(0);
    };
    {
        const auto front = daemon.connect();
        EXPECT_EQ(target_seen(*front), 0U);
        ASSERT_TRUE(daemon.call("web1", "PATCH", "/balloon", R"({"amount_mib": 8})"));
    }
    ASSERT_TRUE(daemon.names_after(0).empty());
    const pid_t other = ::fork();
    if (other == 0) {
        const auto front = daemon.connect();
        ::_exit(front && target_seen(*front) == 0U ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(other, &status, 0), other);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    ASSERT_TRUE(daemon.names_after(0).empty());
    EXPECT_EQ(target_seen(*daemon.connect()), 0U) << "the other's was dropped, and what was before is gone";
}

TEST(ProcessIdentity, IsThatOfARunningProcess) {
    const auto self = ProcessIdentity::of(::getpid());
    ASSERT_TRUE(self);
    EXPECT_EQ(self, ProcessIdentity::of(::getpid()));
    const auto parent = ProcessIdentity::of(::getppid());
    EXPECT_NE(self, parent);
    EXPECT_FALSE(ProcessIdentity::of(0));
    EXPECT_FALSE(ProcessIdentity::of(-1));
    const pid_t gone = ::fork();
    if (gone == 0)
        ::_exit(0);
    ASSERT_EQ(::waitpid(gone, nullptr, 0), gone);
    EXPECT_FALSE(ProcessIdentity::of(gone));
}

TEST(VhostUserDaemon, V7_AGuestWhoseCallsAreFullAndBlockHoldsUpNobody) {
    using namespace vhost_user::testing;
    Daemon daemon;
    const SharedRam ram(ram_start, ram_size);
    const auto hostile = daemon.connect();
    ASSERT_TRUE(hostile->negotiate(split_guest));
    ASSERT_EQ(hostile->share_memory({&ram}), true);
    hostile->make_rings(ram, 5);
    ASSERT_TRUE(hostile->start_rings());
    // The device holds a buffer for statistics, and gives it back when it comes to rest.
    const std::array chain{virtio::DriverBuffer{{data_start}, 10, false}};
    ASSERT_TRUE(hostile->ring(statistics).add(chain));
    ASSERT_TRUE(hostile->ring(statistics).publish());
    hostile->kick(statistics);
    for (std::uint32_t i = 0; i < 5; ++i) {
        const int call = hostile->ring(i).call.get();
        const std::uint64_t nearly_full = ~0ULL - 1;
        std::uint64_t before = 0;
        (void)!::read(call, &before, sizeof before);
        ASSERT_EQ(::write(call, &nearly_full, sizeof nearly_full), 8);
        ASSERT_EQ(::fcntl(call, F_SETFL, 0), 0);
        hostile->kick(i);
    }
    ASSERT_TRUE(hostile->settled());
    const auto victim = daemon.connect();
    ASSERT_TRUE(victim->settled());
    EXPECT_EQ(daemon.names_after(2).size(), 2U);
    hostile->hang_up();
    EXPECT_THAT(daemon.names_after(1), ::testing::ElementsAre("web1-2"));
    EXPECT_TRUE(victim->settled());
}

TEST(VhostUserDaemon, V12_TenThousandConnectionsAreAtMostSoManyGuests) {
    Daemon daemon(3);
    std::vector<std::unique_ptr<FrontEnd>> fronts;
    for (int i = 0; i < 3; ++i) {
        fronts.push_back(daemon.connect());
        ASSERT_TRUE(fronts.back()->settled());
    }
    for (int i = 0; i < 10'000; ++i) {
        const auto more = daemon.connect();
        ASSERT_TRUE(more);
        if (i % 1000 == 0) {
            EXPECT_TRUE(more->closed());
        }
    }
    EXPECT_EQ(daemon.names_after(3).size(), 3U);
    for (const auto& front : fronts)
        EXPECT_TRUE(front->settled());
    fronts.pop_back();
    EXPECT_EQ(daemon.names_after(2).size(), 2U);
    // Of the many some may wait to be accepted, and are for a moment the third.
    bool served = false;
    for (int i = 0; i < 1000 && !served; ++i)
        served = daemon.connect()->settled();
    EXPECT_TRUE(served);
}

TEST(VhostUserDaemon, V12_AGuestForWhomThereAreNoDescriptorsIsRefusedAlone) {
    if (sanitized)
        GTEST_SKIP() << "SKIPPED: a sanitizer needs descriptors for itself";
    Daemon daemon;
    const auto first = daemon.connect();
    ASSERT_TRUE(first->settled());
    ASSERT_EQ(daemon.names_after(1).size(), 1U);
    rlimit limit{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
    // Room for our end, for the connection, and for ever more of what a guest needs.
    for (std::size_t room = 2; room < 12; ++room) {
        const rlimit few{.rlim_cur = 256, .rlim_max = limit.rlim_max};
        ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
        std::vector<FileDescriptor> filling;
        for (int fd = ::dup(0); fd >= 0; fd = ::dup(0))
            filling.emplace_back(fd);
        ASSERT_GT(filling.size(), room);
        filling.resize(filling.size() - room);
        const auto another = daemon.connect();
        ASSERT_TRUE(another);
        if (room < 4) {
            EXPECT_FALSE(another->settled()) << room;
        }
        EXPECT_TRUE(first->settled()) << room;
        filling.clear();
        ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
    }
    EXPECT_EQ(daemon.names_after(1).size(), 1U);
    EXPECT_TRUE(first->settled());
    const auto last = daemon.connect();
    EXPECT_TRUE(last->settled());
}

TEST(VhostUserDaemon, V12_OtherUsersAreTurnedAwayUnlessTheyAreAllowed) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "only root can become another user";
    constexpr uid_t nobody = 65534;
    constexpr uid_t somebody = 12345;
    {
        const Daemon daemon;
        std::filesystem::permissions(daemon.socket.parent_path(), std::filesystem::perms(0755));
        ASSERT_EQ(::chmod(daemon.socket.c_str(), 0666), 0); // the file does not decide
        EXPECT_TRUE(served_as(0, daemon.socket));
        EXPECT_FALSE(served_as(nobody, daemon.socket));
    }
    const Daemon daemon(64, {nobody});
    std::filesystem::permissions(daemon.socket.parent_path(), std::filesystem::perms(0755));
    EXPECT_TRUE(served_as(nobody, daemon.socket));
    EXPECT_FALSE(served_as(somebody, daemon.socket));
}

TEST(VhostUserListener, TakesTheSocketsThatTheServiceManagerHandsOver) {
    // sd_listen_fds(3): from descriptor 3 on, for the process that LISTEN_PID names; so in a process of its own.
    const TemporaryDirectory directory;
    const auto path = directory.path() / "x.sock";
    const pid_t child = ::fork();
    if (child == 0) {
        auto listener = VhostUserListener::create(path, false);
        if (!listener || ::dup2(listener->fd(), 3) != 3)
            ::_exit(2);
        ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
        ::setenv("LISTEN_FDS", "1", 1);
        ::setenv("LISTEN_FDNAMES", "tenant7", 1);
        const auto handed = VhostUserListener::handed_over();
        const auto again = VhostUserListener::handed_over();
        ::_exit(handed && handed->size() == 1 && handed->front().name() == "tenant7" && handed->front().fd() == 3 &&
                        again && again->empty()
                    ? 0
                    : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST(VhostUserListener, ReplacesADeadSocketAndNothingElse) {
    const TemporaryDirectory directory;
    const auto path = directory.path() / "x.sock";
    {
        const auto alive = VhostUserListener::create(path, false);
        ASSERT_TRUE(alive);
        EXPECT_FALSE(VhostUserListener::create(path, false));
    }
    EXPECT_FALSE(std::filesystem::exists(path));
    const int dead = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    ASSERT_EQ(::bind(dead, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ::close(dead);
    EXPECT_TRUE(VhostUserListener::create(path, false));
    const FileDescriptor file(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    EXPECT_FALSE(VhostUserListener::create(path, false));
    EXPECT_FALSE(VhostUserListener::create(directory.path() / std::string(200, 'x'), false));
}

} // namespace
} // namespace aerate
