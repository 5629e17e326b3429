// The pieces of a VmConfig from and to JSON: shared by the configuration file and by the router, one object a route.
#pragma once

#include "control/json.hpp"
#include "control/vm_config.hpp"

namespace aerate::control {

[[nodiscard]] Result<MachineConfig> machine_config_from(const Json&);
[[nodiscard]] Result<MachineConfigUpdate> machine_config_update_from(const Json&);
[[nodiscard]] Result<BootSource> boot_source_from(const Json&);
[[nodiscard]] Result<Drive> drive_from(const Json&);
[[nodiscard]] Result<BalloonConfig> balloon_config_from(const Json&);
[[nodiscard]] Result<void> entropy_from(const Json&);

/// "amount_mib" and "stats_polling_interval_s": also alone, in PATCH requests.
void read_balloon_amount(Fields&, ByteCount& into, Presence);
void read_polling_interval(Fields&, std::chrono::seconds& into, Presence);

[[nodiscard]] Json json_of(const MachineConfig&);
[[nodiscard]] Json json_of(const BalloonConfig&);
[[nodiscard]] Json json_of(const VmConfig&);

} // namespace aerate::control
