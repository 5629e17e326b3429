// What a client on the host says first: "CONNECT 52\n", as Firecracker defines it. The bytes come in pieces of any
// size; nothing after the newline is taken.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace aerate::vsock {

class ConnectCommand {
public:
    static constexpr std::size_t longest = 32; ///< with its newline
    enum class State : std::uint8_t { incomplete, complete, malformed };

    /// How many bytes may be looked at next.
    [[nodiscard]] std::size_t room() const { return text_.size() - length_; }

    /// Takes what belongs to the command, and returns how much that was.
    std::size_t add(std::string_view bytes) {
        if (state_ != State::incomplete)
            return 0;
        const auto newline = bytes.find('\n');
        const std::size_t taken = std::min(newline == bytes.npos ? bytes.size() : newline + 1, room());
        std::ranges::copy(bytes.substr(0, taken), text_.data() + length_);
        length_ += taken;
        if (taken > 0 && text_[length_ - 1] == '\n')
            parse();
        else if (room() == 0)
            state_ = State::malformed;
        return taken;
    }

    [[nodiscard]] State state() const { return state_; }
    /// REQUIRES: complete.
    [[nodiscard]] std::uint32_t port() const { return *port_; }

private:
    static std::string_view next_word(std::string_view& rest) {
        constexpr std::string_view blanks = " \t\r\n\v\f";
        rest.remove_prefix(std::min(rest.find_first_not_of(blanks), rest.size()));
        const auto word = rest.substr(0, rest.find_first_of(blanks));
        rest.remove_prefix(word.size());
        return word;
    }

    void parse() {
        std::string_view rest(text_.data(), length_);
        const auto command = next_word(rest);
        const auto number = next_word(rest);
        constexpr std::string_view expected = "connect";
        const bool known = std::ranges::equal(command, expected,
                                              [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; });
        std::uint32_t port = 0;
        const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), port);
        const bool is_number = !number.empty() && error == std::errc() && end == number.data() + number.size();
        if (known && is_number && next_word(rest).empty())
            port_ = port;
        state_ = port_ ? State::complete : State::malformed;
    }

    std::array<char, longest> text_{};
    std::size_t length_ = 0;
    State state_ = State::incomplete;
    std::optional<std::uint32_t> port_;
};

} // namespace aerate::vsock
