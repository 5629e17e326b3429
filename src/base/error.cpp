#include "base/error.hpp"

#include <system_error>

namespace aerate {

std::string describe_errno(int code) {
    return std::generic_category().message(code);
}

} // namespace aerate
