// Reply to HTTP.
#pragma once

#include "control/request.hpp"

#include <string>
#include <string_view>

namespace aerate::control {

struct HttpReply {
    unsigned status = 200;
    std::string_view content_type;
    std::string body;
};

[[nodiscard]] HttpReply print_reply(const Reply&);

} // namespace aerate::control
