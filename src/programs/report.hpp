// What a VM answered to a command: as the JSON that came or, unless asked for that, in words.
#pragma once

#include "base/units.hpp"
#include "control/reply.hpp"
#include "programs/output.hpp"

#include <chrono>
#include <cstdint>
#include <string_view>

namespace aerate {

template <typename Status>
void print_json(const Status& status) {
    print("{}\n", control::print_reply(status).body);
}

/// What to do where a guest has a balloon and no driver for it.
inline constexpr std::string_view no_driver_advice =
    "the guest does not use its balloon; load virtio_mmio and virtio_balloon there, or put them in its initrd";

[[nodiscard]] constexpr std::uint64_t mib(ByteCount bytes) {
    return bytes.value >> 20;
}
[[nodiscard]] constexpr std::uint64_t mib(PageCount pages) {
    return mib(bytes_of(pages));
}
[[nodiscard]] constexpr double milliseconds(std::chrono::microseconds time) {
    return static_cast<double>(time.count()) / 1000;
}

} // namespace aerate
