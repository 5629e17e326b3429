// What network cards ask the kernel for.
#pragma once

#include "confine/calls.hpp"
#include "confine/thread_kind.hpp"

#include <linux/if_tun.h>

#include <array>

namespace aerate {

inline constexpr auto net_calls = std::to_array<confine::Rule>(
    {{SYS_ioctl, confine::request(TUNSETOFFLOAD)}, {SYS_ioctl, confine::request(TUNSETQUEUE)}});

} // namespace aerate
