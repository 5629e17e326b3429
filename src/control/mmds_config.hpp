// How a guest reaches its metadata service (MMDS). The JSON is Firecracker's "mmds-config".
#pragma once

#include "base/error.hpp"
#include "control/schema.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace aerate::control {

/// Most significant byte first.
using Ipv4Address = std::array<std::uint8_t, 4>;
/// Reads "169.254.169.254": four decimal numbers, without leading zeros.
[[nodiscard]] std::optional<Ipv4Address> parse_ipv4(std::string_view);
/// Returns what is wrong with the service's address; empty: nothing. RFC 3927, 2.1: the first and last 256 link-local
/// addresses are reserved.
[[nodiscard]] std::string_view check_mmds_address(std::string_view);

enum class MmdsVersion : std::uint8_t {
    v1, ///< a session is optional
    v2, ///< a GET needs the token of a session
};
inline constexpr WordList<MmdsVersion, 2> mmds_version_words{{{"V1", MmdsVersion::v1}, {"V2", MmdsVersion::v2}}};

struct MmdsConfig {
    MmdsVersion version = MmdsVersion::v1;
    std::vector<std::string> network_interfaces{}; ///< whose guests' frames to the address are the service's
    std::string ipv4_address = "169.254.169.254";
    bool imds_compat = false; ///< answers are text, whatever a request accepts
    static constexpr std::string_view object = "mmds-config";
    static void describe(auto& fields, auto& self) {
        fields("version", Word{self.version, mmds_version_words});
        fields("network_interfaces", self.network_interfaces, mandatory);
        fields("ipv4_address", self.ipv4_address, Rule{}.with(check_mmds_address));
        fields("imds_compat", self.imds_compat);
    }
    /// At least one interface, and none of them twice.
    [[nodiscard]] static Result<void> check(const MmdsConfig&);
    [[nodiscard]] bool serves(std::string_view iface_id) const;
    bool operator==(const MmdsConfig&) const = default;
};

} // namespace aerate::control
