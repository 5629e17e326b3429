#include "control/configuration.hpp"
#include "control/reply.hpp"
#include "control/router.hpp"
#include "control/vm_config.hpp"

#include <gtest/gtest.h>

namespace aerate::control {
namespace {

TEST(MmdsConfig, AnAddressIsFourNumbers) {
    EXPECT_EQ(parse_ipv4("169.254.169.254"), (Ipv4Address{169, 254, 169, 254}));
    EXPECT_EQ(parse_ipv4("0.0.0.0"), Ipv4Address{});
    for (const char* const wrong : {"", ".", "1", "1.2.3", "1.2.3.", "1.2.3.4.", "1.2.3.4.5", "1.2.3.256", "1.2.3.-4",
                                    "1.2.3.+4", "01.2.3.4", "1.2.3.00", "1..2.3", " 1.2.3.4", "1.2.3.4 ", "a.b.c.d"})
        EXPECT_FALSE(parse_ipv4(wrong)) << wrong;
}

TEST(MmdsConfig, TheServicesIsLinkLocal) {
    for (const char* const good : {"169.254.169.254", "169.254.1.0", "169.254.254.255"})
        EXPECT_EQ(check_mmds_address(good), "") << good;
    for (const char* const bad : {"169.254.0.255", "169.254.255.0", "169.253.1.1", "10.0.0.1", "127.0.0.1", "x", ""})
        EXPECT_NE(check_mmds_address(bad), "") << bad;
}

constexpr std::string_view interfaces =
    R"("network-interfaces": [{"iface_id": "eth0", "host_dev_name": "tap0", "guest_mac": "02:00:00:00:00:01"}])";

TEST(MmdsConfig, IsReadAndPrintedAsFirecrackers) {
    const auto config = parse_vm_config(fmt::format(R"({{{}, "mmds-config": {{"version": "V2",
        "network_interfaces": ["eth0"], "ipv4_address": "169.254.170.2", "imds_compat": true}}}})",
                                                    interfaces));
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->mmds, (MmdsConfig{.version = MmdsVersion::v2,
                                        .network_interfaces = {"eth0"},
                                        .ipv4_address = "169.254.170.2",
                                        .imds_compat = true}));
    EXPECT_EQ(parse_vm_config(print_vm_config(*config)), *config);
    EXPECT_EQ(without_monitor(*config).mmds, config->mmds) << "a guest takes it along";
    EXPECT_TRUE(config->mmds->serves("eth0") && !config->mmds->serves("eth1"));

    for (const char* const wrong :
         {R"({})", R"({"network_interfaces": []})", R"({"network_interfaces": ["eth1"]})",
          R"({"network_interfaces": ["eth0", "eth0"]})", R"({"network_interfaces": ["eth0"], "version": "V3"})",
          R"({"network_interfaces": ["eth0"], "ipv4_address": "10.0.0.1"})",
          R"({"network_interfaces": ["eth0"], "token": 1})"}) {
        const auto refused = parse_vm_config(fmt::format(R"({{{}, "mmds-config": {}}})", interfaces, wrong));
        ASSERT_FALSE(refused) << wrong;
        EXPECT_TRUE(refused.error().message.starts_with("mmds-config")) << refused.error().message;
    }
}

TEST(MmdsConfig, IsPutBeforeTheStartForAnInterfaceThatIsThere) {
    VmConfig config;
    const auto put = route("PUT", "/mmds/config", R"({"network_interfaces": ["eth0"]})");
    ASSERT_TRUE(put);
    const auto is_done = [](const std::optional<Reply>& reply) {
        return reply && std::holds_alternative<Done>(*reply);
    };
    EXPECT_FALSE(is_done(configure(config, VmState::not_started, *put)));
    config.network_interfaces = {{.iface_id = "eth0", .host_dev_name = "tap0"}};
    EXPECT_FALSE(is_done(configure(config, VmState::running, *put)));
    EXPECT_FALSE(config.mmds);
    EXPECT_TRUE(is_done(configure(config, VmState::not_started, *put)));
    EXPECT_TRUE(config.mmds && config.mmds->version == MmdsVersion::v1);
}

TEST(MmdsConfig, TheDataGoThroughAsTheyAre) {
    const auto put = route("PUT", "/mmds", R"({ "a": 1 })");
    ASSERT_TRUE(put);
    EXPECT_EQ(std::get<PutMmds>(*put).json, R"({ "a": 1 })");
    const auto patch = route("PATCH", "/mmds", "null");
    ASSERT_TRUE(patch);
    EXPECT_EQ(std::get<PatchMmds>(*patch).json, "null");
    EXPECT_TRUE(route("GET", "/mmds", ""));
    EXPECT_FALSE(route("PUT", "/mmds", ""));
    EXPECT_FALSE(route("GET", "/mmds", "{}"));
    EXPECT_FALSE(route("GET", "/mmds/config", ""));
    EXPECT_FALSE(route("PUT", "/mmds/other", "{}"));
    const HttpReply reply = print_reply(Metadata{R"({"a":1})"});
    EXPECT_EQ(reply.status, 200U);
    EXPECT_EQ(reply.content_type, "application/json");
    EXPECT_EQ(reply.body, R"({"a":1})");
    VmConfig config;
    for (const VmState state : {VmState::not_started, VmState::running, VmState::paused})
        for (const Request& request : {Request(PutMmds{"{}"}), Request(PatchMmds{"{}"}), Request(GetMmds{})})
            EXPECT_FALSE(configure(config, state, request)) << "the machine has the store";
}

} // namespace
} // namespace aerate::control
