#include "platform/generation_id.hpp"

#include <sys/random.h>

#include <array>

namespace aerate {

Result<> GenerationId::renew() {
    std::array<std::byte, size> bytes;
    // So few are given at once, and whole, once the host has booted (getrandom(2)).
    if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
        return fail_errno("the host gives no random numbers for the guest's generation ID");
    if (!memory_->write(where_, bytes))
        return fail("there is no guest memory for its generation ID at {:#x}", where_.value);
    return {};
}

} // namespace aerate
