#include "machine/outgoing_migration.hpp"

#include <gtest/gtest.h>

namespace aerate {
namespace {

using namespace literals;

std::string refusal(const control::Migrate& request) {
    const auto plan = OutgoingMigration::plan(request, 64_MiB);
    return plan ? "" : plan.error().message;
}

TEST(OutgoingMigration, C6_NoSizeIsRoundedToNothing) {
    control::Migrate request{.destination = "unix:/run/there"};
    request.bandwidth = 512_KiB;
    request.delta_cache = 512_KiB;
    const auto plan = OutgoingMigration::plan(request, 64_MiB);
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_EQ(plan->options.bandwidth, 512_KiB);
    EXPECT_EQ(plan->options.delta_cache, 512_KiB);

    request.bandwidth = ByteCount{1};
    EXPECT_NE(refusal(request).find("bandwidth: 1 bytes a second are too few, at least 65536"), std::string::npos)
        << refusal(request);
    request.bandwidth = {};
    request.streams = 16;
    request.delta_cache = 32_KiB;
    EXPECT_NE(refusal(request).find("at least 65536"), std::string::npos) << refusal(request);
    request.delta_cache = {};
    EXPECT_EQ(refusal(request), "");
}

} // namespace
} // namespace aerate
