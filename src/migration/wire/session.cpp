#include "migration/wire/session.hpp"

#include "base/check.hpp"

#include <fmt/format.h>

#include <sys/random.h>

#include <charconv>

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

Result<Session> Session::parse(std::string_view hex) {
    Session session;
    const bool whole = hex.size() == 2 * session.value.size();
    for (std::size_t i = 0; whole && i < session.value.size(); ++i) {
        std::uint8_t byte = 0;
        std::from_chars(hex.data() + 2 * i, hex.data() + 2 * i + 2, byte, 16);
        session.value[i] = std::byte{byte};
    }
    if (!whole || session.hex() != hex)
        return fail("it is not the number of a session, which has {} digits of 0-9 and a-f", 2 * session.value.size());
    return session;
}

} // namespace aerate::migration
