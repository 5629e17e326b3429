// What Aerate itself tells a guest that calls its port, and when it leaves that to the host.
#include "base/testing/refusing_host.hpp"
#include "vsock/renewal.hpp"
#include "vsock/testing/guest.hpp"

#include <gtest/gtest.h>

#include <set>

namespace aerate::vsock {
namespace {

using namespace testing;
using aerate::testing::RefusingHost;

Ports calling_from(std::uint32_t port) {
    return {.host = renewal_port, .guest = port};
}

/// What the guest is told, or nothing when it is turned away.
std::optional<std::string> told(Guest& guest, std::uint32_t port) {
    guest.send(Guest::packet(calling_from(port), Op::request));
    const auto answer = guest.next();
    if (!answer || answer->header.op != Op::response)
        return std::nullopt;
    const auto said = guest.next(Op::rw);
    return said ? std::optional(text_of(said->payload)) : std::nullopt;
}

TEST(Renewal, C9_AGuestIsToldTheTimeAndRandomBytes) {
    Guest guest;
    const auto before = std::chrono::system_clock::now().time_since_epoch();
    const auto first = told(guest, 1);
    const auto second = told(guest, 2);
    const auto after = std::chrono::system_clock::now().time_since_epoch();
    ASSERT_TRUE(first && second);
    for (const std::string& text : {*first, *second}) {
        ASSERT_EQ(text.size(), renewal_bytes);
        EXPECT_EQ(text.substr(0, 8), "AERATE01");
        const std::chrono::nanoseconds time{load_little_endian<std::uint64_t>(bytes_of(text).subspan(8))};
        EXPECT_GE(time, before);
        EXPECT_LE(time, after);
    }
    EXPECT_NE(first->substr(16), second->substr(16)) << "nobody else is told these bytes";
}

TEST(Renewal, ItEndsWhenTheGuestGoesOnElsewhereAndNotBefore) {
    Guest guest;
    ASSERT_TRUE(told(guest, 1));
    EXPECT_TRUE(guest.pause());
    guest.resume();
    guest.send(Guest::packet(calling_from(1), Op::rw), bytes_of("is read by nobody"));
    EXPECT_TRUE(guest.hears_nothing()) << "a pause ends nothing";
    ASSERT_TRUE(guest.save_and_restore());
    guest.resume();
    EXPECT_EQ(guest.events(), std::vector<std::uint32_t>{0}) << "TRANSPORT_RESET";
    const auto end = guest.next();
    ASSERT_TRUE(end);
    EXPECT_EQ(end->header.op, Op::rst);
    EXPECT_EQ(end->header.destination_port, 1U);
    EXPECT_TRUE(told(guest, 1));
}

TEST(Renewal, WhoListensThereOnTheHostIsAskedInstead) {
    Guest guest;
    auto [ports, host] = guest.guest_calls(renewal_port, 1);
    host.say("mine");
    EXPECT_EQ(text_of(guest.next(Op::rw).value().payload), "mine");
}

TEST(Renewal, K13_CallsWithoutEndCostFewDescriptors) {
    Guest guest;
    for (std::uint32_t port = 1; port <= Multiplexer::renewals_max; ++port)
        EXPECT_TRUE(told(guest, port)) << port;
    EXPECT_FALSE(told(guest, 100));
    guest.send(Guest::packet(calling_from(1), Op::rst));
    EXPECT_TRUE(told(guest, 101)) << "one was given back";
}

TEST(Renewal, AHostThatRefusesSocketsTurnsTheGuestAway) {
    Guest guest;
    {
        const RefusingHost refusing(2, RefusingHost::For::once,
                                    host::Resource::descriptor); // the first looks for a listener
        EXPECT_FALSE(told(guest, 1));
    }
    EXPECT_TRUE(told(guest, 2));
}

TEST(Renewal, OtherPortsAreTheHosts) {
    Guest guest;
    guest.send(Guest::packet({.host = renewal_port + 1, .guest = 1}, Op::request));
    EXPECT_EQ(guest.next().value().header.op, Op::rst);
}

} // namespace
} // namespace aerate::vsock
