#include "programs/ssh_words.hpp"

#include <cstdlib>

namespace aerate {
namespace {

/// As a value of ssh_config(5): quoted, since it may have spaces, and without a meaning for "%" and "${".
std::string as_file_option(std::string_view option, std::string_view path) {
    std::string text = fmt::format("{}=\"", option);
    for (const char c : path) {
        if (c == '"' || c == '\\')
            text += '\\';
        if (c == '%')
            text += '%';
        text += c;
    }
    return text + '"';
}

} // namespace

std::optional<std::uint16_t> ssh_port(const control::VmConfig& config) {
    constexpr std::uint16_t ssh = 22;
    for (const control::NetworkInterface& card : config.network_interfaces) {
        if (!card.user)
            continue;
        for (const std::string& text : card.user->forward)
            if (const auto forward = control::parse_forward(text); forward && !forward->udp && forward->guest == ssh)
                return forward->host;
    }
    return std::nullopt;
}

std::string own_key_path() {
    const auto variable = [](const char* name) -> std::string {
        const char* const value = std::getenv(name);
        return value == nullptr ? "" : value;
    };
    const std::string named = variable("XDG_CONFIG_HOME");
    return (named.empty() ? variable("HOME") + "/.config" : named) + "/aerate/id_ed25519";
}

std::vector<std::string> ssh_words(const SshLogin& login) {
    std::vector<std::string> words{"ssh",
                                   "-p",
                                   std::to_string(login.port),
                                   "-l",
                                   login.user,
                                   "-o",
                                   "HostKeyAlias=" + login.name,
                                   "-o",
                                   as_file_option("UserKnownHostsFile", login.known_hosts),
                                   "-o",
                                   "GlobalKnownHostsFile=/dev/null",
                                   "-o",
                                   "StrictHostKeyChecking=accept-new",
                                   "-o",
                                   "LogLevel=ERROR"};
    if (!login.identity.empty())
        words.insert(words.end(), {"-i", login.identity});
    words.insert(words.end(), {"--", "127.0.0.1"});
    words.insert(words.end(), login.command.begin(), login.command.end());
    return words;
}

} // namespace aerate
