#include "migration/wire/session.hpp"

#include "base/check.hpp"

#include <fmt/format.h>

#include <sys/random.h>

namespace aerate::migration {

Session Session::random() {
    Session session;
    // Up to 256 bytes are never cut short (getrandom(2)).
    CHECK(::getrandom(session.value.data(), session.value.size(), 0) == static_cast<ssize_t>(session.value.size()));
    return session;
}

std::string Session::hex() const {
    std::string text;
    for (const std::byte byte : value)
        fmt::format_to(std::back_inserter(text), "{:02x}", std::to_integer<unsigned>(byte));
    return text;
}

} // namespace aerate::migration
