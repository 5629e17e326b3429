// What becomes of a guest when its front-end's connection ends, and what it finds when it connects again.
#include "base/testing/sanitized.hpp"
#include "daemon/testing/served_daemon.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/wait.h>

#include <future>

namespace aerate {
namespace {

using Daemon = testing::ServedDaemon;
using vhost_user::testing::FrontEnd;

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

/// A guest whose driver has everything, and answers for it.
struct Guest {
    explicit Guest(const Daemon& daemon)
        : front(daemon.connect()) {}
    [[nodiscard]] bool start() {
        using namespace vhost_user::testing;
        if (!front || !front->negotiate(split_guest) || front->share_memory({&ram}) != true)
            return false;
        front->make_rings(ram, 5);
        return front->start_rings();
    }
    /// Leaves a buffer with the device that says how much memory the guest could give.
    void give_statistics(std::uint64_t available) {
        using namespace vhost_user::testing;
        const std::uint16_t tag = balloon::statistic::available_memory;
        std::memcpy(ram.at(data_start), &tag, sizeof tag);
        std::memcpy(ram.at(data_start) + sizeof tag, &available, sizeof available);
        const std::array chain{virtio::DriverBuffer{{data_start}, 10, false}};
        CHECK(front->ring(statistics).add(chain));
        if (front->ring(statistics).publish())
            front->kick(statistics);
    }

    vhost_user::testing::SharedRam ram{vhost_user::testing::ram_start, vhost_user::testing::ram_size};
    std::unique_ptr<FrontEnd> front;
};

/// A guest with a target of 4 MiB, and a squeeze that waits for pages which this guest does not give.
struct SqueezedGuest : Guest {
    explicit SqueezedGuest(Daemon& daemon)
        : Guest(daemon) {
        CHECK(start());
        CHECK(daemon.names_after(1).size() == 1);
        CHECK(daemon.call("web1", "PATCH", "/balloon", R"({"amount_mib": 4})").has_value());
        CHECK(front->config_change().has_value());
        give_statistics(24U << 20);
        CHECK(front->settled());
        answer = std::async(std::launch::async, [&] {
            return daemon.call("web1", "PUT", "/aerate/squeeze", R"({"keep_bytes": 4194304})");
        });
        CHECK(front->wait_used(vhost_user::testing::statistics).has_value()); // it is asked how it is
        give_statistics(24U << 20);
        CHECK(front->config_change().has_value());
        CHECK(front->read_config(0) > 1024U);
    }
    std::future<Result<std::string>> answer;
};

TEST(VhostUserReconnect, V10_ASqueezeThatLosesItsGuestIsAnsweredAtOnceAndLeavesTheTargetAsItWas) {
    Daemon daemon;
    {
        SqueezedGuest guest(daemon);
        guest.front->hang_up();
        const auto answer = guest.answer.get();
        ASSERT_FALSE(answer) << *answer;
        EXPECT_THAT(answer.error().message, ::testing::HasSubstr("the guest is gone"));
    }
    Guest again(daemon);
    ASSERT_TRUE(again.start());
    EXPECT_THAT(daemon.names_after(1), ::testing::ElementsAre("web1"));
    EXPECT_EQ(again.front->read_config(0), 1024U);
    EXPECT_TRUE(daemon.call("web1", "PATCH", "/balloon", R"({"amount_mib": 2})")) << "no squeeze is under way";
    EXPECT_EQ(again.front->read_config(0), 512U);
}

TEST(VhostUserReconnect, V8_ASqueezeWhoseMemoryIsReplacedIsAnsweredAtOnceAndLeavesTheTargetAsItWas) {
    Daemon daemon;
    SqueezedGuest guest(daemon);
    const vhost_user::testing::SharedRam more(1ULL << 32, 4U << 20);
    ASSERT_EQ(guest.front->set(vhost_user::RequestCode::add_mem_reg, vhost_user::SingleRegion{0, more.description()},
                               std::array{more.fd()}),
              true);
    const auto answer = guest.answer.get();
    ASSERT_FALSE(answer) << *answer;
    EXPECT_EQ(guest.front->read_config(0), 1024U);
    EXPECT_TRUE(daemon.call("web1", "PATCH", "/balloon", R"({"amount_mib": 2})")) << "no squeeze is under way";
}

TEST(VhostUserReconnect, V10_WhoConnectsAgainAtOnceIsTheSameGuest) {
    Daemon daemon;
    for (int life = 0; life < 20; ++life) {
        Guest guest(daemon);
        ASSERT_TRUE(guest.start()) << life;
        if (life == 0) {
            ASSERT_EQ(daemon.names_after(1).size(), 1U);
            ASSERT_TRUE(daemon.call("web1", "PATCH", "/balloon", R"({"amount_mib": 4})"));
        }
        ASSERT_EQ(guest.front->read_config(0), 1024U) << life;
        EXPECT_THAT(daemon.names_after(1), ::testing::ElementsAre("web1"));
    }
}

/// All of a sparse tebibyte is reported free, in regions of that number.
void report_a_tebibyte(Daemon& daemon, std::size_t regions) {
    using namespace vhost_user::testing;
    constexpr std::uint64_t size = 1ULL << 40;
    constexpr std::uint64_t start = 1ULL << 32;
    constexpr std::uint32_t piece = 1U << 31;
    Guest guest(daemon);
    const FileDescriptor sparse(::memfd_create("sparse", MFD_CLOEXEC));
    ASSERT_EQ(::ftruncate(sparse.get(), size), 0);
    ASSERT_TRUE(guest.start());
    for (std::size_t i = 0; i < regions; ++i) {
        const std::uint64_t length = size / regions;
        const vhost_user::SingleRegion region{0, {start + i * length, length, (1ULL << 45) + i * length, i * length}};
        ASSERT_EQ(guest.front->set(vhost_user::RequestCode::add_mem_reg, region, std::array{sparse.get()}), true);
    }
    for (std::uint64_t reported = 0; reported < size; reported += piece)
        ASSERT_TRUE(
            guest.front->send_chain(reporting, std::array{virtio::DriverBuffer{{start + reported}, piece, true}}));
    ASSERT_EQ(::pwrite(sparse.get(), "x", 1, size / 3), 1); // and one page is taken back
    ASSERT_EQ(daemon.names_after(1).size(), 1U);
    const auto before = std::chrono::steady_clock::now();
    const auto status = control::Client(control::socket_path(daemon.api, "web1"), std::chrono::seconds(60)).status();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - before;
    ASSERT_TRUE(status);
    EXPECT_EQ(status->memory.reported.value, size - page_size.value);
    EXPECT_LT(took.count(), 2.0) << regions << " regions";
    ::testing::Test::RecordProperty(fmt::format("seconds_{}_regions", regions), fmt::format("{:.3f}", took.count()));
}

TEST(VhostUserReconnect, V3_ASparseTebibyteThatIsAllReportedIsCountedByWhatIsInIt) {
    if (sanitized)
        GTEST_SKIP() << "SKIPPED: a sanitizer leaves no room for it";
    Daemon daemon;
    report_a_tebibyte(daemon, 1);
    ASSERT_TRUE(daemon.names_after(0).empty());
    report_a_tebibyte(daemon, 16);
}

} // namespace
} // namespace aerate
