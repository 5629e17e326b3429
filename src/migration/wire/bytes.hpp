// Fixed-width numbers one after the other, as frames hold them. ByteReader never reads beyond the end: what is missing
// reads as zero, and complete() says so.
#pragma once

#include "base/endian.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace aerate::migration {

template <std::unsigned_integral T>
void append(std::vector<std::byte>& to, T value) {
    const std::size_t end = to.size();
    to.resize(end + sizeof value);
    store_little_endian(std::span(to).subspan(end), value);
}

inline void append(std::vector<std::byte>& to, std::span<const std::byte> bytes) {
    to.insert(to.end(), bytes.begin(), bytes.end());
}

/// REQUIRES: all that is put fits.
class ByteWriter {
public:
    explicit ByteWriter(std::span<std::byte> bytes)
        : bytes_(bytes) {}
    template <std::unsigned_integral T>
    void put(T value) {
        store_little_endian(bytes_.subspan(position_), value);
        position_ += sizeof value;
    }
    void skip(std::size_t count) { position_ += count; }
    [[nodiscard]] std::size_t position() const { return position_; }

private:
    std::span<std::byte> bytes_;
    std::size_t position_ = 0;
};

class ByteReader {
public:
    explicit ByteReader(std::span<const std::byte> bytes)
        : bytes_(bytes) {}

    template <std::unsigned_integral T>
    [[nodiscard]] T take() {
        const auto bytes = take_bytes(sizeof(T));
        return bytes.size() == sizeof(T) ? load_little_endian<T>(bytes) : T{};
    }
    /// Returns an empty span when there are fewer.
    [[nodiscard]] std::span<const std::byte> take_bytes(std::size_t count) {
        if (count > bytes_.size()) {
            missing_ = true;
            bytes_ = {};
            return {};
        }
        const auto taken = bytes_.first(count);
        bytes_ = bytes_.subspan(count);
        return taken;
    }
    [[nodiscard]] std::size_t left() const { return bytes_.size(); }
    /// Returns whether everything asked for was there, and nothing else.
    [[nodiscard]] bool complete() const { return !missing_ && bytes_.empty(); }

private:
    std::span<const std::byte> bytes_;
    bool missing_ = false;
};

} // namespace aerate::migration
