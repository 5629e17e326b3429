// What disks ask the kernel for.
#pragma once

#include "confine/calls.hpp"
#include "confine/thread_kind.hpp"

#include <linux/fs.h>

#include <array>

namespace aerate {

/// What opens an image, locks it and clones it.
inline constexpr auto image_calls = std::to_array<confine::Rule>({
    {SYS_ioctl, confine::request(BLKGETSIZE64)},
    {SYS_ioctl, confine::request(BLKSSZGET)},
    {SYS_ioctl, confine::request(FICLONE)},
});

/// What carries out a disk's requests.
inline constexpr auto engine_calls = std::to_array<confine::Rule>({
    {SYS_io_uring_enter},
    {SYS_io_uring_setup},
    {SYS_io_uring_register},
});

} // namespace aerate
