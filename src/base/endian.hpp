// Little-endian values as they stand in guest memory, on the wire and in files. Only x86-64 hosts are supported, so the
// conversion is a copy; the types mark which bytes have a defined order.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <span>

namespace aerate {

static_assert(std::endian::native == std::endian::little, "byte order conversion is not implemented");

/// REQUIRES: bytes.size() >= sizeof(T). Unaligned is fine.
template <std::unsigned_integral T>
[[nodiscard]] T load_little_endian(std::span<const std::byte> bytes) {
    T value;
    std::memcpy(&value, bytes.first(sizeof(T)).data(), sizeof(T));
    return value;
}

/// REQUIRES: bytes.size() >= sizeof(T).
template <std::unsigned_integral T>
void store_little_endian(std::span<std::byte> bytes, T value) {
    std::memcpy(bytes.first(sizeof(T)).data(), &value, sizeof(T));
}

} // namespace aerate
