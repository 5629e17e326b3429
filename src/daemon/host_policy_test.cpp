// What a host's memory policy asks of a guest of another monitor.
#include "control/client.hpp"
#include "daemon/testing/served_daemon.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace aerate {
namespace {

using namespace vhost_user::testing;
using ::testing::HasSubstr;
using Daemon = aerate::testing::ServedDaemon;

class PolicyOfAGuest : public ::testing::Test {
protected:
    [[nodiscard]] std::string ask(std::string_view method, std::string_view target, std::string_view body = {}) {
        const auto answer = daemon_.call("web1", method, target, body);
        return answer ? *answer : answer.error().message;
    }
    void connect() {
        front_ = daemon_.connect();
        ASSERT_TRUE(front_->negotiate(split_guest));
        ASSERT_EQ(daemon_.names_after(1).size(), 1U);
    }
    void start_guest() {
        ASSERT_EQ(front_->share_memory({&ram_}), true);
        front_->make_rings(ram_, 5);
        ASSERT_TRUE(front_->start_rings());
        ASSERT_TRUE(front_->settled());
    }

    SharedRam ram_{ram_start, ram_size};
    Daemon daemon_{64, {}, [](VhostUserDaemon::Options& options) { options.memory_policy.shares = 7; }};
    std::unique_ptr<FrontEnd> front_;
};

TEST_F(PolicyOfAGuest, HasTheDaemonsDefaultsUntilItIsToldAnother) {
    connect();
    EXPECT_THAT(ask("GET", "/vm/config"), HasSubstr(R"("memory-policy":{"memory_priority":5,"memory_shares":7})"));
    EXPECT_EQ(ask("PUT", "/aerate/memory-policy", R"({"memory_floor_mib": 1, "memory_shares": 3})"), "");
    start_guest();
    EXPECT_THAT(ask("GET", "/aerate/pulse"),
                HasSubstr(R"("memory_policy":{"memory_floor_mib":1,"memory_priority":5,"memory_shares":3})"));
    EXPECT_THAT(ask("GET", "/aerate/status"), HasSubstr(R"("memory_shares":3)"));
    EXPECT_THAT(ask("PUT", "/aerate/memory-policy", R"({"memory_floor_mib": 1048576})"),
                HasSubstr("more than the VM's"));
}

TEST_F(PolicyOfAGuest, APermitSetsItsTargetAndTheOperatorEndsIt) {
    connect();
    EXPECT_THAT(ask("PUT", "/aerate/permit", R"({"target_bytes": 4096, "for_ms": 60000})"), HasSubstr("not known"));
    start_guest();
    EXPECT_EQ(ask("PUT", "/aerate/permit", R"({"target_bytes": 1048576, "for_ms": 60000})"), "");
    EXPECT_THAT(ask("GET", "/aerate/pulse"), HasSubstr(R"("target_bytes":1048576)"));
    EXPECT_THAT(ask("GET", "/aerate/pulse"), HasSubstr("permit_ms"));
    EXPECT_THAT(ask("PUT", "/aerate/permit",
                    fmt::format(R"({{"target_bytes": {}, "for_ms": 60000}})", ByteCount{ram_size}.value)),
                HasSubstr("memory floor"));
    EXPECT_EQ(ask("PATCH", "/balloon", R"({"amount_mib": 2})"), "");
    EXPECT_THAT(ask("GET", "/aerate/pulse"), ::testing::Not(HasSubstr("permit_ms")));
}

TEST_F(PolicyOfAGuest, IsShownAsAMap) {
    connect();
    EXPECT_THAT(ask("GET", "/aerate/memory-map"), HasSubstr("not known"));
    start_guest();
    EXPECT_THAT(ask("GET", "/aerate/memory-map"), HasSubstr(R"("cell_bytes":65536)"));
}

} // namespace
} // namespace aerate
