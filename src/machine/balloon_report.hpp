// What the host's memory policy looks at, of a VM of ours and of a guest whose balloon alone is here.
#pragma once

#include "balloon/balloon.hpp"
#include "control/event_feed.hpp"
#include "control/pulse.hpp"
#include "control/status.hpp"
#include "reclaim/balloon_care.hpp"

#include <cstdint>
#include <map>
#include <string>

namespace aerate {

/// Adds what the guest has told so far, by Firecracker's names.
void add_statistics(std::map<std::string, std::uint64_t>&, const balloon::GuestStatistics&);

/// Adds what was done for the balloon without being asked. Balloon loop.
void add_care(control::VmStatus&, const BalloonCare&);

/// Adds what the balloon's loop knows. Balloon loop.
void add_balloon(control::Pulse&, balloon::Balloon&, const BalloonCare&);

/// Publishes each of the news as an event of its own. Main loop.
void publish(control::EventFeed&, const BalloonNews&);

} // namespace aerate
