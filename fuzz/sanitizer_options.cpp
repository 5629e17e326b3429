// What the fuzz targets ask of AddressSanitizer: less book-keeping, the same checks.

extern "C" const char* __asan_default_options(); // NOLINT(bugprone-reserved-identifier)

// quarantine: what was freed in this execution and the last ones stays poisoned; 256 MiB would be out of every cache.
// madv_dontdump: guest memory is mapped again and again, with a system call each time to keep its shadow out of a dump.
// malloc_context: how many frames a report shows of where memory was allocated.
extern "C" const char* __asan_default_options() {
    return "quarantine_size_mb=8:use_madv_dontdump=0:malloc_context_size=8";
}
