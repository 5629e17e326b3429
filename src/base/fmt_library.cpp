// The compiled half of fmt, once. Debian has it only as a shared library, which brings the shared libstdc++ with it: a
// megabyte and a half of resident memory for each monitor. As a header-only library it would be compiled into every
// file.
#include <fmt/format-inl.h>

// What fmt's headers declare and expect in its library.
template fmt::detail::thousands_sep_result<char> fmt::detail::thousands_sep_impl(fmt::detail::locale_ref);
template char fmt::detail::decimal_point_impl(fmt::detail::locale_ref);
