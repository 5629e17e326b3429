// The threads of a migration, at either end, and what each may ask the kernel for.
#pragma once

#include "confine/calls.hpp"
#include "confine/thread_kind.hpp"
#include "memory/system_calls.hpp"

#include <array>

namespace aerate::migration {

/// Packs pages and sends them, or takes them in: a connection that there is, and memory.
inline constexpr confine::ThreadKind stream_thread{
    .name = "stream",
    .calls = {confine::connected_sockets, confine::event_loop, memory_calls, confine::every_thread},
    .starts = {}};

/// Hears who has connected.
inline constexpr confine::ThreadKind handshake_thread{
    .name = "handshake",
    .calls = {confine::connected_sockets, confine::event_loop, confine::every_thread},
    .starts = {}};

inline constexpr std::array<const confine::ThreadKind*, 2> threads_of_destination{&stream_thread, &handshake_thread};
/// Takes a guest in: its connections, its memory, its kernel's file, the lease.
inline constexpr confine::ThreadKind destination_thread{
    .name = "candidate",
    .calls = {confine::connected_sockets, confine::event_loop, memory_calls, memory_making_calls, confine::files,
              confine::local_sockets, confine::thread_starts, confine::every_thread},
    .starts = threads_of_destination};

inline constexpr std::array<const confine::ThreadKind*, 1> threads_of_source{&stream_thread};
/// Connects to the other end, on this host or another, and sends the guest.
inline constexpr confine::ThreadKind source_thread{
    .name = "migration",
    .calls = {confine::connected_sockets, confine::event_loop, memory_calls, dirty_log_calls, confine::files,
              confine::outward_sockets, confine::thread_starts, confine::every_thread},
    .starts = threads_of_source};

} // namespace aerate::migration
