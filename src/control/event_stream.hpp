// A connection whose answer does not end: the events of a VM (HTML Living Standard, 9.2, server-sent events). It has
// its own places in the server, so that listeners and callers do not take them from each other.
//
// Main loop. What waits for a listener is bounded: one that does not read fast enough is hung up on, and sees that.
#pragma once

#include "control/connection.hpp"
#include "control/event_feed.hpp"
#include "control/request.hpp"

#include <boost/asio/local/stream_protocol.hpp>

#include <memory>

namespace aerate::control {

/// Serves the listener until either side closes the connection. It keeps itself alive, and the feed.
void start_event_stream(boost::asio::local::stream_protocol::socket, const EventStream&,
                        const std::shared_ptr<ConnectionOwner>&, const ServerLimits&);

} // namespace aerate::control
