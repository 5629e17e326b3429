// HTTP to Request: one table of routes. Pure, so that a fuzzer can drive it.
#pragma once

#include "control/request.hpp"

#include <expected>
#include <string_view>

namespace aerate::control {

/// `method` and `target` as they stand in the request line. Failures are 404 (no such path), 405 (not with this method)
/// or 400 (the body; the message names the field).
[[nodiscard]] std::expected<Request, Failure> route(std::string_view method, std::string_view target,
                                                    std::string_view body);

} // namespace aerate::control
