// What a caller of the page has to know: whoever has it may look at all VMs and act on them.
#pragma once

#include "base/error.hpp"

#include <string>
#include <string_view>

namespace aerate::web {

class Token {
public:
    /// Makes one of 256 random bits. Fails when the host has no randomness.
    [[nodiscard]] static Result<Token> make();
    /// Takes that of a file which nobody but our user and root can read: 32 to 256 characters of those that RFC 6750
    /// has in a token, and perhaps a line's end.
    [[nodiscard]] static Result<Token> read(const std::string& path);
    /// See read().
    [[nodiscard]] static Result<Token> parse(std::string_view text);

    /// Compares in a time that tells nothing but the other's length.
    [[nodiscard]] bool is(std::string_view other) const;
    [[nodiscard]] const std::string& text() const { return text_; }

private:
    explicit Token(std::string text)
        : text_(std::move(text)) {}
    std::string text_;
};

} // namespace aerate::web
