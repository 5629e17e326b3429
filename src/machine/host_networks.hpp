// What the network interfaces of a VM are connected to on this host.
#pragma once

#include "base/error.hpp"
#include "control/network_interface.hpp"
#include "net/backend.hpp"

#include <string>
#include <vector>

namespace aerate {

/// Opens what the interface names: a tap, descriptors that this process was started with, or networking by passt. There
/// is one for each of its queues.
[[nodiscard]] Result<net::BackEnds> open_back_ends(const control::NetworkInterface&);

struct NetworkOrigin {
    std::string command;   ///< how the operator grants one, for the message that asks for it
    bool own_seal = false; ///< the operator's own key has sealed it: its names are the operator's word
};

/// Connects the interfaces of a guest from outside as the operator says. What they name themselves is a wish, and none
/// of it is opened: fails with a list of those that are not granted, and for a grant of an interface that is not there.
[[nodiscard]] Result<> grant_networks(std::vector<control::NetworkInterface>&,
                                      const std::vector<control::NetworkGrant>&, const NetworkOrigin&);

} // namespace aerate
