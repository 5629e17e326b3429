// What `aerate top` shows: a pure function of the VMs' states and the terminal's size.
#pragma once

#include "control/status.hpp"

#include <string>
#include <vector>

namespace aerate::control {

struct TopView {
    std::size_t columns = 80;
    std::size_t rows = 24; ///< 0: as many as it takes
    bool colour = false;
};

/// Prints one line for each VM: figures in MiB, and a bar whose whole length is the VM's RAM. VMs that do not fit are
/// counted below.
[[nodiscard]] std::string render_top(const std::vector<VmStatus>&, const TopView&);

/// Returns the bar alone: '#' used by the guest, '=' resident but not used, 'b' ballooned, 'r' reported free, '.' the
/// rest.
[[nodiscard]] std::string memory_bar(const VmStatus&, std::size_t width);

/// Returns what the guest itself calls used, if it says so: never more than its RAM.
[[nodiscard]] std::optional<ByteCount> guest_used(const VmStatus&);

} // namespace aerate::control
