// What a process that serves a guest gives up, in two steps: what it never needs when it starts, and before the guest
// runs what it needed to open the guest's files.
//
//     TRY(confine::begin({.use = confine::Use::automatic}));    // descriptors, capabilities, core dumps, ...
//     ...                                                       // files, KVM, sockets, programs that are started
//     TRY(confine::before_guest(main_thread, places));          // the rest; filters from here on, for each thread
//
// None of it can be taken back, by this process or by what it starts. Threads that are started meanwhile are confined
// by their kind (host::start_thread).
#pragma once

#include "base/error.hpp"
#include "confine/paths.hpp"
#include "confine/thread_kind.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace aerate::confine {

enum class Use : std::uint8_t {
    off,
    automatic, ///< as far as the kernel has it; what is missing is said
    required,  ///< or not at all
};

struct Options {
    Use use = Use::off;
    bool paths = true;   ///< before_guest() will be given places
    bool filters = true; ///< false: no seccomp filters, and the rest all the same
    /// Descriptors above 2 that somebody has handed over. All others are closed, for nobody meant them for us.
    std::vector<int> handed_over{};
};

/// Returns whether what Options say about use is not off: begin() was called.
[[nodiscard]] bool has_begun();

/// Before this process has opened anything, and before any thread starts. Fails if what is required is not there.
[[nodiscard]] Result<> begin(const Options&);

/// On the main thread, before the guest's first instruction here; the second call does nothing, and so does one without
/// begin(). With `places` nothing else can be opened afterwards. Fails if what is required is not there.
[[nodiscard]] Result<> before_guest(const ThreadKind& main, const std::optional<std::vector<Place>>& places);

/// What holds for the calling thread, by the kernel's word, but for Landlock, of which the kernel does not tell.
struct Holding {
    bool no_new_privileges = false;
    bool capabilities = false; ///< it has some, or could get some
    bool dumpable = true;
    bool filtered = false;
    int landlock = 0;    ///< its version; 0: files are opened as the user may
    std::string lacks{}; ///< what is missing that should be there by now, in words; empty: nothing
};
[[nodiscard]] Holding holding();

} // namespace aerate::confine
