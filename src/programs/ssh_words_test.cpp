#include "programs/ssh_words.hpp"

#include <gmock/gmock.h>

namespace aerate {
namespace {

control::VmConfig with_forwards(std::vector<std::vector<std::string>> cards) {
    control::VmConfig config;
    config.network_interfaces.push_back({.iface_id = "tap", .host_dev_name = "tap0"});
    for (auto& forwards : cards)
        config.network_interfaces.push_back(
            {.iface_id = "user", .user = control::UserNetworkConfig{std::move(forwards)}});
    return config;
}

TEST(SshPort, IsTheOneThatLeadsToTheGuestsSsh) {
    EXPECT_EQ(ssh_port(with_forwards({})), std::nullopt);
    EXPECT_EQ(ssh_port(with_forwards({{}})), std::nullopt);
    EXPECT_EQ(ssh_port(with_forwards({{"8080:80", "udp:2221:22", "22:2222"}})), std::nullopt);
    EXPECT_EQ(ssh_port(with_forwards({{"8080:80"}, {"udp:2221:22", "2222:22", "2223:22"}})), 2222);
}

TEST(SshWords, NameTheGuestsKeysAndEndOptionsBeforeTheCommand) {
    const auto words = ssh_words({.port = 2222,
                                  .name = "web",
                                  .user = "root",
                                  .identity = "/keys/id",
                                  .known_hosts = "/run/my \"vms\" 100%/web.known_hosts",
                                  .command = {"ls", "-l"}});
    using namespace testing;
    EXPECT_EQ(words.front(), "ssh");
    EXPECT_THAT(words, IsSupersetOf({"HostKeyAlias=web", "StrictHostKeyChecking=accept-new",
                                     R"(UserKnownHostsFile="/run/my \"vms\" 100%%/web.known_hosts")"}));
    EXPECT_THAT((std::vector(words.end() - 6, words.end())),
                ElementsAre("-i", "/keys/id", "--", "127.0.0.1", "ls", "-l"));
}

} // namespace
} // namespace aerate
