#include "control/mmds_config.hpp"

#include <algorithm>
#include <charconv>
#include <set>

namespace aerate::control {

std::optional<Ipv4Address> parse_ipv4(std::string_view text) {
    Ipv4Address address{};
    for (std::size_t i = 0; i < address.size(); ++i) {
        if (i > 0 && !text.starts_with('.'))
            return std::nullopt;
        text.remove_prefix(i > 0 ? 1 : 0);
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), address[i]);
        const auto digits = static_cast<std::size_t>(end - text.data());
        if (error != std::errc() || (text.front() == '0' && digits > 1))
            return std::nullopt;
        text.remove_prefix(digits);
    }
    return text.empty() ? std::optional(address) : std::nullopt;
}

std::string_view check_mmds_address(std::string_view text) {
    const auto address = parse_ipv4(text);
    const bool link_local = address && (*address)[0] == 169 && (*address)[1] == 254;
    const bool usable = link_local && (*address)[2] != 0 && (*address)[2] != 255;
    return usable ? "" : "must be a link-local IPv4 address, from 169.254.1.0 to 169.254.254.255";
}

Result<void> MmdsConfig::check(const MmdsConfig& config) {
    if (config.network_interfaces.empty())
        return fail("mmds-config.network_interfaces: is empty; name at least one interface");
    std::set<std::string_view> ids;
    for (const std::string& id : config.network_interfaces)
        if (!ids.insert(id).second)
            return fail("mmds-config.network_interfaces: an interface is named twice");
    return {};
}

bool MmdsConfig::serves(std::string_view iface_id) const {
    return std::ranges::find(network_interfaces, iface_id) != network_interfaces.end();
}

} // namespace aerate::control
