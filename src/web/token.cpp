#include "web/token.hpp"

#include "base/regular_file.hpp"

#include <openssl/crypto.h>

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <iterator>

namespace aerate::web {
namespace {

constexpr std::size_t token_min = 32;
constexpr std::size_t token_max = 256;

bool may_be_in_token(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || std::string_view("-._~+/=").contains(c);
}

} // namespace

Result<Token> Token::make() {
    std::array<unsigned char, 32> bytes{};
    // Up to 256 bytes are never cut short (getrandom(2)).
    if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
        return fail_errno("cannot have randomness for the page's token");
    std::string text;
    for (const unsigned char byte : bytes)
        fmt::format_to(std::back_inserter(text), "{:02x}", byte);
    return Token(std::move(text));
}

Result<Token> Token::read(const std::string& path) {
    const RegularFile file = TRY(open_regular(path, Link::follow));
    TRY(check_secrecy(path, file.owner, file.mode));
    auto token = parse(TRY(read_text_file(path, token_max + 2)));
    if (!token)
        return fail_because(std::move(token).error(), "cannot use the token in {}", path);
    return token;
}

Result<Token> Token::parse(std::string_view text) {
    if (text.ends_with('\n'))
        text.remove_suffix(1);
    if (text.size() < token_min || text.size() > token_max || !std::ranges::all_of(text, may_be_in_token))
        return fail("a token is {} to {} of A-Z a-z 0-9 - . _ ~ + / =; openssl rand -hex 32 makes one", token_min,
                    token_max);
    return Token(std::string(text));
}

bool Token::is(std::string_view other) const {
    return other.size() == text_.size() && ::CRYPTO_memcmp(other.data(), text_.data(), text_.size()) == 0;
}

} // namespace aerate::web
