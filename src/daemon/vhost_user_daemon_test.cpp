// V12, and what a daemon is beside its sessions: names, credentials, the API of each guest.
#include "base/testing/sanitized.hpp"
#include "daemon/testing/served_daemon.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/un.h>
#include <sys/wait.h>

namespace aerate {
namespace {

using Daemon = testing::ServedDaemon;
using vhost_user::testing::FrontEnd;

/// Returns whether a process of that user is served.
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
    EXPECT_THAT(refusal("PUT", "/aerate/squeeze", R"({"keep_bytes": 1048576})"),
                ::testing::HasSubstr("memory is not known"));
    EXPECT_THAT(refusal("PATCH", "/balloon/hinting/start"), ::testing::HasSubstr("driver"));
    EXPECT_NE(refusal("PUT", "/boot-source", R"({"kernel_image_path": "x"})"), "done");
    EXPECT_EQ(refusal("GET", "/vm/config"), "done");
    EXPECT_EQ(refusal("GET", "/metrics"), "done");
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
    // Some of the many may still wait to be accepted, and be the third for a moment.
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

} // namespace
} // namespace aerate
