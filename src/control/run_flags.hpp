// The flags of `aerate run`, and the configuration they make. A flag that is given wins over the --config file.
#pragma once

#include "control/vm_config.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace aerate::control {

struct RunFlags {
    std::optional<std::string> config_file{};
    std::optional<std::string> name{};
    std::optional<std::string> kernel{};
    std::optional<std::string> initrd{};
    std::optional<std::string> append{};
    std::optional<KernelEntry> kernel_entry{};
    std::vector<std::string> drives{};  ///< PATH[,ro|,private[=DIR]][,on_error=...]
    std::vector<std::string> nets{};    ///< see parse_net_flag()
    std::optional<std::string> vsock{}; ///< cid=N[,max_connections=N],path=FILE
    std::optional<unsigned> vcpus{};
    std::optional<std::string> mem{};
    std::optional<Backing> backing{};
    bool track_dirty = false;
    std::optional<std::string> balloon{};
    std::optional<bool> reporting{};
    std::optional<bool> hinting{};
    std::optional<bool> deflate_on_oom{};
    std::optional<unsigned> stats_interval{};
    std::optional<std::string> memory_floor{};
    std::optional<std::uint64_t> memory_shares{};
    std::optional<std::uint64_t> memory_priority{};
};

/// Without a --config file the VM has a balloon with everything that gives memory back switched on, and an entropy
/// device.
[[nodiscard]] Result<VmConfig> config_from(const RunFlags&);

} // namespace aerate::control
