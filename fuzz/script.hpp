// Reads a fuzzer's input as a script: numbers one after the other, zeros after its end.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace aerate::fuzz {

class Script {
public:
    Script(const std::uint8_t* data, std::size_t size)
        : bytes_(data, size) {}

    [[nodiscard]] bool ended() const { return bytes_.empty(); }
    template <std::unsigned_integral T>
    [[nodiscard]] T take() {
        T value = 0;
        const std::size_t length = bytes_.size() < sizeof(T) ? bytes_.size() : sizeof(T);
        if (length != 0)
            std::memcpy(&value, bytes_.data(), length);
        bytes_ = bytes_.subspan(length);
        return value;
    }
    /// A number below `end`, of one byte of the input.
    [[nodiscard]] unsigned below(unsigned end) { return take<std::uint8_t>() % end; }
    template <typename T, std::size_t n>
    [[nodiscard]] T one_of(const T (&choices)[n]) {
        return choices[below(n)];
    }

private:
    std::span<const std::uint8_t> bytes_;
};

} // namespace aerate::fuzz
