// What a long-running command does to its process first.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

namespace aerate {

/// Opens /dev/null in place of standard descriptors that are closed, as some supervisors leave them: else the first
/// file that is opened would be taken for a terminal, and be written to. False if that is not possible.
[[nodiscard]] bool have_standard_descriptors();

/// Returns whether the process was started with this signal ignored, as nohup does: then it is to stay so (POSIX, "sh":
/// a command that runs in the background must not be ended by the terminal's keys).
[[nodiscard]] bool is_ignored(int signal);

/// Makes signals events of the loop, so that every way to end goes through the same door: terminal restored, socket
/// removed. Blocked before any thread starts, so that none of them takes one. Those that are ignored stay so.
[[nodiscard]] Result<FileDescriptor> signals_to_end();

/// Takes a signal from signals_to_end() and logs which it is and who sent it. False if there is none.
[[nodiscard]] bool take_end_signal(const FileDescriptor& signals);

/// The default is 8 MiB a thread, where the kernel likes to put a huge page: 2 MiB resident for a stack of a few KiB.
void use_small_stacks();

/// Lets go of the program's code and constants: what ran at the start and will not again is most of them. The rest is
/// back from the page cache, where all monitors share it, at the price of a minor fault for 16 pages.
void forget_start_up_code();

} // namespace aerate
