// What can fail at run time because the host said no: Result, TRY, fail().
#pragma once

#include <fmt/format.h>

#include <cerrno>
#include <expected>
#include <string>
#include <type_traits>
#include <utility>

namespace aerate {

/// A failure to be reported once, at the top. `message` says what failed, where, and what to do about it.
/// `system_error` is an errno value, or 0 when no system call is to blame.
struct [[nodiscard]] Error {
    std::string message;
    int system_error = 0;
};

template <typename T = void>
using Result = std::expected<T, Error>;

template <typename... Args>
[[nodiscard]] std::unexpected<Error> fail(fmt::format_string<Args...> format, Args&&... args) {
    return std::unexpected(Error{fmt::format(format, std::forward<Args>(args)...), 0});
}

/// Returns the text of an errno value ("No such file or directory").
[[nodiscard]] std::string describe_errno(int code);
/// Has the text of EACCES end with this from now on: a process that has confined itself says so, since nothing about
/// the file does. Once.
void explain_refusals(std::string why);

/// Does the same, keeps errno and appends its text. Call it before anything else can change errno.
template <typename... Args>
[[nodiscard]] std::unexpected<Error> fail_errno(fmt::format_string<Args...> format, Args&&... args) {
    const int code = errno;
    return std::unexpected(Error{fmt::format(format, std::forward<Args>(args)...) + ": " + describe_errno(code), code});
}

/// Says what `error` made impossible: appends its text and keeps its errno.
template <typename... Args>
[[nodiscard]] std::unexpected<Error> fail_because(Error error, fmt::format_string<Args...> format, Args&&... args) {
    error.message = fmt::format(format, std::forward<Args>(args)...) + ": " + error.message;
    return std::unexpected(std::move(error));
}

namespace detail {
template <typename T, typename E>
T take(std::expected<T, E>&& result) {
    if constexpr (!std::is_void_v<T>)
        return *std::move(result);
}
} // namespace detail

} // namespace aerate

/// Evaluates to the value of a Result or any std::expected, or returns its error from the enclosing function. The
/// counter lets one TRY stand inside another.
#define TRY(expression) AERATE_TRY_COUNTED(expression, __COUNTER__)
#define AERATE_TRY_COUNTED(expression, number) AERATE_TRY_NAMED(expression, number)
#define AERATE_TRY_NAMED(expression, number) AERATE_TRY_AS(expression, aerate_try_result_##number)
#define AERATE_TRY_AS(expression, result)                                                                              \
    __extension__({                                                                                                    \
        auto result = (expression);                                                                                    \
        if (!result) [[unlikely]]                                                                                      \
            return std::unexpected(std::move(result).error());                                                         \
        aerate::detail::take(std::move(result));                                                                       \
    })
