// Turns records into bytes and back. A record is described once, for both directions:
//
//     template <typename Codec>
//     void describe(Codec& codec, Described<Codec, Uart>& uart) { codec(uart.line_control, uart.divisor); }
//
// The description stands in the namespace of its record. Little-endian, without padding. The bytes may be damaged or
// hostile: the decoder never reads beyond them, allocates no more than they could fill, and remembers the first thing
// that was wrong; what comes after reads as zero.
#pragma once

#include "base/endian.hpp"
#include "base/error.hpp"

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace aerate {

class Encoder {
public:
    template <typename... T>
    void operator()(const T&... fields) {
        (put(fields), ...);
    }
    /// Codes the bytes as they are: the kernel's structures are stable and free of pointers.
    template <typename T>
    void raw(const T& value) {
        append(std::as_bytes(std::span(&value, 1)));
    }
    template <typename T>
    void raw(const std::vector<T>& values) {
        put(static_cast<std::uint32_t>(values.size()));
        append(std::as_bytes(std::span(values)));
    }
    [[nodiscard]] std::vector<std::byte> take() { return std::move(bytes_); }

private:
    void append(std::span<const std::byte> bytes) {
        const std::size_t before = bytes_.size();
        bytes_.resize(before + bytes.size());
        if (!bytes.empty())
            std::memcpy(bytes_.data() + before, bytes.data(), bytes.size());
    }
    void put(std::unsigned_integral auto value) {
        std::array<std::byte, sizeof value> bytes;
        store_little_endian<decltype(value)>(bytes, value);
        append(bytes);
    }
    void put(bool value) { put(static_cast<std::uint8_t>(value)); }
    void put(const std::string& text) {
        put(static_cast<std::uint32_t>(text.size()));
        append(std::as_bytes(std::span(text)));
    }
    template <std::size_t N>
    void put(const std::array<std::uint8_t, N>& bytes) {
        append(std::as_bytes(std::span(bytes)));
    }
    void put(const std::vector<std::byte>& bytes) {
        put(static_cast<std::uint32_t>(bytes.size()));
        append(bytes);
    }
    template <typename T>
    void put(const std::vector<T>& values) {
        put(static_cast<std::uint32_t>(values.size()));
        for (const T& value : values)
            put(value);
    }
    template <typename T>
    void put(const std::optional<T>& value) {
        put(value.has_value());
        if (value)
            put(*value);
    }
    template <typename T>
        requires std::is_class_v<T>
    void put(const T& value) {
        describe(*this, value);
    }

    std::vector<std::byte> bytes_;
};

class Decoder {
public:
    explicit Decoder(std::span<const std::byte> bytes)
        : rest_(bytes) {}

    template <typename... T>
    void operator()(T&... fields) {
        (get(fields), ...);
    }
    template <typename T>
    void raw(T& value) {
        copy(std::as_writable_bytes(std::span(&value, 1)));
    }
    template <typename T>
    void raw(std::vector<T>& values) {
        values.resize(count(sizeof(T)));
        copy(std::as_writable_bytes(std::span(values)));
    }
    [[nodiscard]] std::span<const std::byte> bytes(std::uint64_t length) {
        if (length > rest_.size()) {
            broken_ = true;
            return {};
        }
        const auto piece = rest_.first(length);
        rest_ = rest_.subspan(length);
        return piece;
    }
    /// Returns all that is left.
    [[nodiscard]] std::span<const std::byte> rest() { return bytes(rest_.size()); }
    [[nodiscard]] bool at_end() const { return rest_.empty(); }
    [[nodiscard]] bool broken() const { return broken_; }
    /// Returns whether everything was there, and nothing beyond it.
    [[nodiscard]] bool complete() const { return !broken_ && at_end(); }

private:
    void copy(std::span<std::byte> into) {
        const auto from = bytes(into.size());
        if (from.size() == into.size() && !into.empty())
            std::memcpy(into.data(), from.data(), into.size());
    }
    /// Reads a count of elements that take at least `least` bytes each.
    [[nodiscard]] std::size_t count(std::size_t least) {
        std::uint32_t value = 0;
        get(value);
        if (value > rest_.size() / least) {
            broken_ = true;
            return 0;
        }
        return value;
    }
    template <std::unsigned_integral T>
    void get(T& value) {
        const auto piece = bytes(sizeof(T));
        value = piece.empty() ? T{0} : load_little_endian<T>(piece);
    }
    void get(bool& value) {
        std::uint8_t byte = 0;
        get(byte);
        broken_ |= byte > 1;
        value = byte == 1;
    }
    void get(std::string& text) {
        text.resize(count(1));
        copy(std::as_writable_bytes(std::span(text)));
    }
    template <std::size_t N>
    void get(std::array<std::uint8_t, N>& into) {
        copy(std::as_writable_bytes(std::span(into)));
    }
    void get(std::vector<std::byte>& into) {
        into.resize(count(1));
        copy(into);
    }
    template <typename T>
    void get(std::vector<T>& values) {
        // One by one: an element in memory may be far larger than the least of it in the file.
        values.clear();
        for (std::size_t left = count(1); left > 0 && !broken_; --left)
            get(values.emplace_back());
    }
    template <typename T>
    void get(std::optional<T>& value) {
        bool present = false;
        get(present);
        if (present)
            get(value.emplace());
    }
    template <typename T>
        requires std::is_class_v<T>
    void get(T& value) {
        describe(*this, value);
    }

    std::span<const std::byte> rest_;
    bool broken_ = false;
};

/// What a description may do with its record: read it to encode, fill it to decode.
template <typename Codec, typename T>
using Described = std::conditional_t<std::is_same_v<Codec, Encoder>, const T, T>;

} // namespace aerate
