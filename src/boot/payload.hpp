// Unpacks the kernel inside a bzImage.
#pragma once

#include "base/error.hpp"

#include <cstddef>
#include <memory>
#include <span>

namespace aerate {

/// Unpacked bytes: not a vector, which would write every byte twice.
struct UnpackedPayload {
    std::unique_ptr<std::byte[]> bytes;
    std::size_t size = 0;
    [[nodiscard]] std::span<const std::byte> view() const { return {bytes.get(), size}; }
};

/// gzip, xz, lz4 (the legacy frame format that Linux uses) and zstd. The last four bytes of `payload` are the size that
/// it unpacks to (Documentation/arch/x86/boot.rst, "payload_length"); more than that is an error, and so is less.
[[nodiscard]] Result<UnpackedPayload> unpack_payload(std::span<const std::byte> payload);

} // namespace aerate
