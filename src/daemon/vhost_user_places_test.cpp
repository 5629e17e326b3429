// S11: who may have how many places in the daemon, and for how long without a guest. S4: what the host refuses it.
#include "base/testing/refusing_host.hpp"
#include "daemon/testing/served_daemon.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/wait.h>

#include <chrono>

namespace aerate {
namespace {

using namespace std::chrono_literals;
using Daemon = testing::ServedDaemon;
using Options = VhostUserDaemon::Options;
using vhost_user::testing::FrontEnd;
using vhost_user::testing::SharedRam;
using vhost_user::testing::split_guest;

bool has_guest(FrontEnd& front, const SharedRam& ram) {
    return front.negotiate(split_guest) && front.share_memory({&ram}) == true;
}

/// What `f` says in a process of its own.
template <typename F>
bool in_another_process(F f) {
    const pid_t child = ::fork();
    if (child == 0)
        ::_exit(f() ? 0 : 1);
    int status = 0;
    return ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(VhostUserPlaces, S11_one_process_has_no_more_than_its_own) {
    Daemon daemon(64, {}, [](Options& options) { options.guests_per_process = 2; });
    const auto first = daemon.connect();
    const auto second = daemon.connect();
    ASSERT_TRUE(first->settled() && second->settled());
    EXPECT_TRUE(daemon.connect()->closed());
    EXPECT_TRUE(in_another_process([&] { return daemon.connect()->settled(); }));
    EXPECT_TRUE(first->settled() && second->settled());
}

TEST(VhostUserPlaces, S11_users_share_the_places) {
    constexpr uid_t nobody = 65534;
    // Two may connect, so each has two of four.
    Daemon daemon(4, {nobody});
    const auto first = daemon.connect();
    const auto second = daemon.connect();
    ASSERT_TRUE(first->settled() && second->settled());
    EXPECT_TRUE(daemon.connect()->closed());
}

void share_memory(Options& options, ByteCount all, ByteCount per_process) {
    options.back_end.memory_budget = std::make_shared<vhost_user::MemoryBudget>(all, all);
    options.memory_per_process = per_process;
}

TEST(VhostUserPlaces, S11_one_process_has_no_more_memory_than_its_own) {
    Daemon daemon(64, {}, [](Options& options) { share_memory(options, {256U << 20}, {48U << 20}); });
    const SharedRam ram(0, 32U << 20);
    auto first = daemon.connect();
    ASSERT_TRUE(has_guest(*first, ram));
    const auto second = daemon.connect();
    ASSERT_TRUE(second->negotiate(split_guest));
    EXPECT_EQ(second->share_memory({&ram}), false) << "32 MiB and 32 MiB";
    EXPECT_TRUE(in_another_process([&] { return has_guest(*daemon.connect(), ram); }));
    first.reset();
    ASSERT_EQ(daemon.names_after(1).size(), 1U);
    EXPECT_EQ(second->share_memory({&ram}), true) << "what it had it has again";
}

TEST(VhostUserPlaces, S11_users_share_the_memory) {
    constexpr uid_t nobody = 65534;
    Daemon daemon(64, {nobody}, [](Options& options) { share_memory(options, {80U << 20}, {}); });
    const SharedRam ram(0, 32U << 20);
    const auto first = daemon.connect();
    ASSERT_TRUE(has_guest(*first, ram));
    const bool another = in_another_process([&] {
        const auto front = daemon.connect();
        return front->negotiate(split_guest) && front->share_memory({&ram}) == false;
    });
    EXPECT_TRUE(another) << "each user has 40 MiB, however many processes";
}

TEST(VhostUserPlaces, S11_who_says_nothing_is_sent_away) {
    Daemon daemon(64, {}, [](Options& options) { options.silence_max = 20ms; });
    const auto silent = daemon.connect();
    ASSERT_TRUE(silent);
    EXPECT_TRUE(silent->closed());
    EXPECT_TRUE(daemon.names_after(0).empty());
}

TEST(VhostUserPlaces, S11_a_place_without_a_guest_goes_to_who_wants_it) {
    Daemon daemon(1, {}, [](Options& options) { options.without_memory_max = 0ms; });
    const auto idle = daemon.connect();
    ASSERT_TRUE(idle->negotiate(split_guest)) << "it talks, so only another one's wish sends it away";
    ASSERT_TRUE(idle->settled());
    const SharedRam ram(0, 32U << 20);
    const auto next = daemon.connect();
    ASSERT_TRUE(has_guest(*next, ram));
    EXPECT_TRUE(idle->closed());
    EXPECT_TRUE(daemon.connect()->closed()) << "one that has a guest keeps its place";
    EXPECT_TRUE(next->settled());
}

TEST(VhostUserPlaces, S11_nothing_is_kept_of_a_process_that_is_gone) {
    Daemon daemon;
    const SharedRam ram(0, 32U << 20);
    {
        const auto front = daemon.connect();
        ASSERT_TRUE(has_guest(*front, ram));
    }
    ASSERT_TRUE(daemon.names_after(0).empty());
    EXPECT_EQ(daemon.kept(), 1U) << "this process can come back";
    ASSERT_TRUE(in_another_process([&] {
        const auto front = daemon.connect();
        return has_guest(*front, ram);
    }));
    ASSERT_TRUE(daemon.names_after(0).empty());
    const auto until = std::chrono::steady_clock::now() + 20s;
    while (daemon.kept() > 0 && std::chrono::steady_clock::now() < until)
        std::this_thread::yield();
    EXPECT_EQ(daemon.kept(), 0U) << "the other's replaced ours, and went with it";
}

TEST(VhostUserPlaces, S4_whatever_the_host_refuses_costs_one_guest_its_place_and_no_other_anything) {
    for (const auto how_long : {testing::RefusingHost::For::once, testing::RefusingHost::For::good}) {
        Daemon daemon;
        const SharedRam ram(0, 32U << 20);
        const auto victim = daemon.connect();
        ASSERT_TRUE(has_guest(*victim, ram));
        ASSERT_EQ(daemon.names_after(1).size(), 1U);
        const auto refusals = testing::for_each_refusal(
            how_long,
            [&]() -> Result<> {
                const auto another = daemon.connect();
                if (another == nullptr || !another->settled() || !has_guest(*another, ram))
                    return fail("not served");
                return {};
            },
            [&](const auto&, std::uint64_t n) {
                EXPECT_TRUE(victim->settled()) << n;
                EXPECT_TRUE(daemon.connect()->settled()) << n << ": it listens again";
                EXPECT_EQ(daemon.names_after(1).size(), 1U) << n;
            });
        EXPECT_GT(refusals, 5U);
        EXPECT_TRUE(daemon.connect()->settled());
    }
}

} // namespace
} // namespace aerate
