#include "base/after_start.hpp"

#include <link.h>
#include <malloc.h>
#include <unistd.h>

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace aerate {
namespace {

#ifdef NDEBUG
constexpr bool released = true;
#else
constexpr bool released = false;
#endif

/// Looks at the first object of the process, which is the program.
int let_go(dl_phdr_info* program, std::size_t, void*) {
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    for (const ElfW(Phdr) & segment : std::span(program->dlpi_phdr, program->dlpi_phnum)) {
        // What was relocated is in a segment that could be written to, and has no other copy.
        if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0)
            continue;
        const std::uintptr_t start = (program->dlpi_addr + segment.p_vaddr) / page * page;
        const std::uintptr_t end = (program->dlpi_addr + segment.p_vaddr + segment.p_memsz + page - 1) / page * page;
        auto* const place = reinterpret_cast<void*>(start); // NOLINT(performance-no-int-to-ptr)
        (void)::madvise(place, end - start, MADV_DONTNEED);
    }
    return 1;
}

} // namespace

void let_go_of_what_starting_took() {
    ::malloc_trim(0);
    if (released)
        ::dl_iterate_phdr(let_go, nullptr);
}

} // namespace aerate
