// The steps of initialisation that a driver may take, in their order (virtio 1.2, 3.1.1). Some firmware says
// ACKNOWLEDGE and DRIVER in one write.
#pragma once

#include "virtio/mmio_registers.hpp"

#include <algorithm>
#include <cstdint>

namespace aerate::virtio::status_step {

struct Step {
    std::uint8_t from;
    std::uint8_t to;
    bool operator==(const Step&) const = default;
};

inline constexpr std::uint8_t known = device_status::acknowledge;
inline constexpr std::uint8_t driven = known | device_status::driver;
inline constexpr std::uint8_t agreed = driven | device_status::features_ok;
inline constexpr std::uint8_t running = agreed | device_status::driver_ok;
inline constexpr Step all[] = {{0, known}, {0, driven}, {known, driven}, {driven, agreed}, {agreed, running}};

[[nodiscard]] constexpr bool is_one(Step step) {
    return std::ranges::find(all, step) != std::end(all);
}
/// Returns whether a driver can have got there.
[[nodiscard]] constexpr bool reaches(std::uint8_t status) {
    return status == 0 || std::ranges::find(all, status, &Step::to) != std::end(all);
}

} // namespace aerate::virtio::status_step
