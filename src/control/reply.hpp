// Reply to HTTP.
#pragma once

#include "control/request.hpp"

#include <string>
#include <string_view>

namespace aerate::control {

inline constexpr std::string_view event_stream_type = "text/event-stream";

struct HttpReply {
    unsigned status = 200;
    std::string_view content_type;
    std::string body;
};

/// Returns what a status is on this path. Firecracker says 400 for all that it refuses, and its clients expect it.
[[nodiscard]] unsigned status_on(std::string_view target, unsigned status);

[[nodiscard]] HttpReply print_reply(const Reply&);

} // namespace aerate::control
