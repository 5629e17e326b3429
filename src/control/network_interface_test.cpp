#include "control/network_interface.hpp"
#include "control/schema_json.hpp"
#include "control/vm_config.hpp"

#include <gtest/gtest.h>

namespace aerate::control {
namespace {

TEST(NetFlag, SaysWhatTheCardIsConnectedTo) {
    const auto tap = parse_net_flag("tap=tap0,mac=02:00:00:00:00:0A,mtu=9000,drop_spoofed");
    ASSERT_TRUE(tap) << tap.error().message;
    EXPECT_EQ(*tap,
              (NetworkInterface{
                  .host_dev_name = "tap0", .guest_mac = "02:00:00:00:00:0A", .mtu = 9000, .drop_spoofed_mac = true}));
    EXPECT_EQ(parse_net_flag("fd=7")->fd, 7U);
    EXPECT_EQ(parse_net_flag("fd=7")->pairs(), 1U);
    EXPECT_EQ(*parse_net_flag("fd=7,fd=9,fd=8"), (NetworkInterface{.fd = 7, .more_fds = {9, 8}}));
    EXPECT_EQ(parse_net_flag("fd=7,fd=9,fd=8,queues=3")->pairs(), 3U);
    EXPECT_EQ(*parse_net_flag("tap=tap0,queues=4"), (NetworkInterface{.host_dev_name = "tap0", .queues = 4}));
    EXPECT_EQ(parse_net_flag("tap=tap0")->pairs(), 1U);
    EXPECT_EQ(parse_net_flag("user,forward=2222:22,forward=udp:53:5353")->user,
              (UserNetworkConfig{{"2222:22", "udp:53:5353"}}));
    EXPECT_EQ(mac_bytes("02:00:00:00:00:0A"), (MacBytes{2, 0, 0, 0, 0, 10}));
}

TEST(NetFlag, RefusesWhatItDoesNotKnow) {
    for (const auto* text : {"",
                             "tap=",
                             "tap=a/b",
                             "tap=tap%d",
                             "tap=a,user",
                             "fd=0",
                             "fd=x",
                             "fd=-1",
                             "mac=02:00:00:00:00:01",
                             "tap=a,mac=01:00:00:00:00:01",
                             "tap=a,mac=2:0:0:0:0:1",
                             "tap=a,mtu=67",
                             "tap=a,mtu=65536",
                             "tap=a,forward=1:2",
                             "user,forward=0:1",
                             "user,forward=1",
                             "user,forward=1:2:3",
                             "user=1",
                             "bridge=br0",
                             "tap=a,queues=0",
                             "tap=a,queues=33",
                             "tap=a,queues=x",
                             "tap=a,queues",
                             "user,queues=2",
                             "fd=7,fd=8,queues=3",
                             "fd=7,queues=2",
                             "fd=7,fd=8,queues=1",
                             "fd=7,fd=2",
                             "tap=a,",
                             "tap=a,,mtu=1500"}) {
        const bool only_a_comma = std::string_view(text) == "tap=a,";
        EXPECT_EQ(parse_net_flag(text).has_value(), only_a_comma) << text;
    }
}

TEST(NetGrant, NamesAnInterfaceAndItsConnection) {
    const auto grant = parse_net_grant("eth0=tap=tap1,mac=02:00:00:00:00:02");
    ASSERT_TRUE(grant) << grant.error().message;
    EXPECT_EQ(*grant, (NetworkGrant{.iface_id = "eth0", .host_dev_name = "tap1", .guest_mac = "02:00:00:00:00:02"}));
    EXPECT_TRUE(parse_net_grant("eth0=user")->user);
    EXPECT_EQ(parse_net_grant("eth0=fd=5,fd=6")->more_fds, (std::vector<std::uint32_t>{6}));
    EXPECT_FALSE(parse_net_grant("eth0=tap=a,queues=2")) << "the guest's card has as many as it has";
    for (const auto* text : {"", "tap=tap0", "eth0", "=user", "eth0=", "eth0=tap=a,mtu=1500", "e/0=user"})
        EXPECT_FALSE(parse_net_grant(text)) << text;
}

TEST(NetworkInterface, IsReadAndPrintedAsFirecrackersAndAsOurs) {
    const auto read = [](std::string_view json) { return read_object<NetworkInterface>(*parse_json(json)); };
    const auto tap =
        read(R"({"iface_id": "eth0", "host_dev_name": "tap0", "guest_mac": "06:00:AC:10:00:02", "mtu": 1500,
                             "rx_rate_limiter": {"bandwidth": {"size": 5, "one_time_burst": null, "refill_time": 9}}})");
    ASSERT_TRUE(tap) << tap.error().message;
    EXPECT_EQ(tap->rx_rate_limiter->bandwidth->size, 5U);
    EXPECT_EQ(read(print_json(*print_object(*tap))).value(), *tap);
    EXPECT_EQ(read(R"({"iface_id": "a", "user": {"forward": ["1:2"]}})")->user->forward.size(), 1U);
    for (const auto* json :
         {R"({"iface_id": "a"})", R"({"host_dev_name": "tap0"})", R"({"iface_id": "", "user": {}})",
          R"({"iface_id": "a", "host_dev_name": "tap0", "user": {}})", R"({"iface_id": "a", "host_dev_name": "../x"})",
          R"({"iface_id": "a", "user": {"forward": ["x"]}})",
          R"({"iface_id": "a", "host_dev_name": "t", "guest_mac": "x"})",
          R"({"iface_id": "a", "host_dev_name": "t", "mtu": 67})",
          R"({"iface_id": "a", "host_dev_name": "t", "queues": 0})",
          R"({"iface_id": "a", "host_dev_name": "t", "queues": 33})",
          R"({"iface_id": "a", "host_dev_name": "t", "more_fds": [5]})", R"({"iface_id": "a", "more_fds": [5]})",
          R"({"iface_id": "a", "user": {}, "queues": 2})",
          R"({"iface_id": "a", "fd": 5, "more_fds": [6], "queues": 1})",
          R"({"iface_id": "a", "host_dev_name": "t", "vhost": true})"})
        EXPECT_FALSE(read(json)) << json;
}

TEST(RandomMac, IsLocalAndNoMulticast) {
    for (int i = 0; i < 100; ++i) {
        EXPECT_EQ(check_mac(random_mac()), "");
        EXPECT_EQ(mac_bytes(random_mac())[0] & 3U, 2U);
    }
}

} // namespace
} // namespace aerate::control
