// What a process holds that has started and now serves. Its start runs through far more code than serving a guest does:
// the command line, files, ACPI tables. On each fault the kernel maps 64 KiB of what is in the page cache
// (mm/memory.c, do_fault_around), so that several MiB of a program of ten count as resident; and what was freed is
// still the heap's.
#pragma once

namespace aerate {

/// Gives freed memory back, and unmaps the program's code and constants, which come back page by page as they are used.
/// Costs a few faults, and no reading while the file is in the page cache. A debugger's breakpoints that are set
/// meanwhile are lost, so a debug build keeps its pages.
void let_go_of_what_starting_took();

} // namespace aerate
