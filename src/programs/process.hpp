// What a long-running command does to its process first.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

namespace aerate {

/// Signals become events of the loop, so that every way to end goes through the same door: terminal restored, socket
/// removed. Blocked before any thread starts, so that none of them takes one.
[[nodiscard]] Result<FileDescriptor> signals_to_end();

/// The default is 8 MiB a thread, where the kernel likes to put a huge page: 2 MiB resident for a stack of a few KiB.
void use_small_stacks();

/// Lets go of the program's code and constants: what ran at the start and will not again is most of them. The rest is
/// back from the page cache, where all monitors share it, at the price of a minor fault for 16 pages.
void forget_start_up_code();

} // namespace aerate
