// What of the program itself this process has mapped. Its start runs through far more code than serving a guest does:
// the command line, files, ACPI tables. On each fault the kernel maps 64 KiB of what is in the page cache
// (mm/memory.c, do_fault_around), so that several MiB of a program of ten count as resident.
#pragma once

namespace aerate {

/// Unmaps the program's code and constants, which come back page by page as they are used. Costs a few faults, and no
/// reading while the file is in the page cache. A debugger's breakpoints that are set meanwhile are lost, so nothing is
/// done in a debug build.
void let_go_of_program_pages();

} // namespace aerate
