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

/// "amount_mib" and "stats_polling_interval_s" alone, in PATCH requests.
[[nodiscard]] Result<ByteCount> balloon_amount_from(const Json&);
[[nodiscard]] Result<std::chrono::seconds> polling_interval_from(const Json&);

[[nodiscard]] Json json_of(const MachineConfig&);
[[nodiscard]] Json json_of(const BalloonConfig&);
[[nodiscard]] Json json_of(const VmConfig&);

} // namespace aerate::control
