// Whether a sanitizer is in the process. It needs mappings and descriptors of its own, so a test that takes all of
// either has to be skipped there.
#pragma once

namespace aerate {

#if defined(__has_feature)
inline constexpr bool sanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
/// ThreadSanitizer waits for itself when an atomic access that it watches raises SIGBUS and the handler has another.
inline constexpr bool thread_sanitized = __has_feature(thread_sanitizer);
#else
inline constexpr bool sanitized = false;
inline constexpr bool thread_sanitized = false;
#endif

} // namespace aerate
