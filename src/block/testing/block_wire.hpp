// What a driver writes and reads in requests to a disk (virtio 1.2, 5.2.6), as numbers of the tests' own.
#pragma once

#include <cstddef>
#include <cstdint>

namespace aerate::testing {

struct Header {
    std::uint32_t type;
    std::uint32_t reserved;
    std::uint64_t sector;
};
struct Range {
    std::uint64_t sector;
    std::uint32_t sectors;
    std::uint32_t flags;
};
enum : std::uint32_t { in = 0, out = 1, flush = 4, get_id = 8, discard = 11, write_zeroes = 13 };

inline constexpr std::byte ok{0};
inline constexpr std::byte io_error{1};
inline constexpr std::byte unsupported{2};

} // namespace aerate::testing
