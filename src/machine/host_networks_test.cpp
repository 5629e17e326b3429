#include "machine/host_files.hpp"
#include "machine/host_networks.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <sys/socket.h>

#include <array>

namespace aerate {
namespace {

using control::NetworkGrant;
using control::NetworkInterface;
using control::UserNetworkConfig;

std::vector<NetworkInterface> saved() {
    return {{.iface_id = "eth0", .host_dev_name = "tap0", .guest_mac = "02:00:00:00:00:01"},
            {.iface_id = "eth1", .user = UserNetworkConfig{{"2222:22"}}, .guest_mac = "02:00:00:00:00:02"}};
}

TEST(HostNetworks, WhatASnapshotNamesIsOpenedOnlyIfTheOperatorNamesIt) {
    auto interfaces = saved();
    const auto refused = grant_networks(interfaces, {}, {.command = "aerate restore vm.snap"});
    ASSERT_FALSE(refused);
    EXPECT_TRUE(refused.error().message.contains("interface eth0: the tap tap0")) << refused.error().message;
    EXPECT_TRUE(refused.error().message.contains("aerate restore vm.snap --net eth0=tap=tap0 --net eth1=user"));

    const std::vector<NetworkGrant> one{{.iface_id = "eth0", .host_dev_name = "tap9"}};
    EXPECT_FALSE(grant_networks(interfaces, one, {.command = "aerate restore"})) << "eth1 is missing";
    const std::vector<NetworkGrant> none{{.iface_id = "eth7", .host_dev_name = "tap9"}};
    EXPECT_FALSE(grant_networks(interfaces, none, {.command = "aerate restore", .own_seal = true}));
}

TEST(HostNetworks, AGrantTakesThePlaceOfAllThatWasSavedButTheAddress) {
    auto interfaces = saved();
    const std::vector<NetworkGrant> grants{
        {.iface_id = "eth0", .user = UserNetworkConfig{}},
        {.iface_id = "eth1", .host_dev_name = "tap1", .guest_mac = "02:00:00:00:00:09"}};
    ASSERT_TRUE(grant_networks(interfaces, grants, {.command = ""}));
    EXPECT_EQ(interfaces[0],
              (NetworkInterface{.iface_id = "eth0", .user = UserNetworkConfig{}, .guest_mac = "02:00:00:00:00:01"}));
    EXPECT_EQ(interfaces[1],
              (NetworkInterface{.iface_id = "eth1", .host_dev_name = "tap1", .guest_mac = "02:00:00:00:00:09"}));
}

TEST(HostNetworks, ACardWithSeveralQueuesHasAsManyAgain) {
    const auto takes = [](NetworkGrant grant) {
        std::vector<NetworkInterface> interfaces{{.iface_id = "eth0", .host_dev_name = "tap0", .queues = 2}};
        grant.iface_id = "eth0";
        const auto granted = grant_networks(interfaces, {grant}, {.command = ""});
        return granted && interfaces[0].pairs() == 2;
    };
    EXPECT_TRUE(takes({.host_dev_name = "tap1"}));
    EXPECT_TRUE(takes({.fd = 5, .more_fds = {6}}));
    EXPECT_FALSE(takes({.fd = 5}));
    EXPECT_FALSE(takes({.fd = 5, .more_fds = {6, 7}}));
    EXPECT_FALSE(takes({.user = UserNetworkConfig{}}));
}

TEST(HostNetworks, TheOperatorsOwnSealIsTheOperatorsWordButForDescriptors) {
    auto interfaces = saved();
    EXPECT_TRUE(grant_networks(interfaces, {}, {.command = "", .own_seal = true}));
    interfaces[0] = {.iface_id = "eth0", .fd = 5};
    EXPECT_FALSE(grant_networks(interfaces, {}, {.command = "", .own_seal = true}));
}

TEST(HostNetworks, ADescriptorIsASocketOrATapAndStaysAsItIs) {
    const auto open = [](int fd) { return open_back_ends({.iface_id = "eth0", .fd = static_cast<std::uint32_t>(fd)}); };
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
    const FileDescriptor ours(ends[0]);
    const FileDescriptor peer(ends[1]);
    const auto opened = open(ours.get());
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_FALSE(opened->front()->offloads());

    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe(pipe.data()), 0);
    const FileDescriptor reader(pipe[0]);
    const FileDescriptor writer(pipe[1]);
    const auto refused = open(reader.get());
    ASSERT_FALSE(refused);
    EXPECT_TRUE(refused.error().message.contains("network interface eth0")) << refused.error().message;
    EXPECT_EQ(::write(writer.get(), "x", 1), 1) << "the descriptor is still open";
    EXPECT_FALSE(open(1 << 19));
}

TEST(HostNetworks, ATapThatDoesNotExistOrMayNotBeMadeIsSaidByItsName) {
    const auto opened = open_back_ends({.iface_id = "eth0", .host_dev_name = "no/such"});
    ASSERT_FALSE(opened);
    EXPECT_TRUE(opened.error().message.contains("network interface eth0")) << opened.error().message;
}

} // namespace
} // namespace aerate
