// How a request or an answer is described: once, beside its members, for all code that reads, prints or checks it.
//
//     struct Squeeze {
//         ByteCount keep{};
//         static void describe(auto& fields, auto& self) { fields("keep_bytes", self.keep, mandatory); }
//     };
//
// The Reader and the Writer of schema_json.hpp visit the members, and so does any other code that needs them. The type
// says the rest: ByteCount is bytes, a duration counts its own unit, std::optional and empty-able things may be absent.
#pragma once

#include "base/units.hpp"

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>

namespace aerate::control {

struct Range {
    std::uint64_t first;
    std::uint64_t last;
};

/// What a text must be besides text. Returns what is wrong with it, or nothing.
using TextCheck = std::string_view (*)(std::string_view);

[[nodiscard]] constexpr std::string_view not_empty(std::string_view text) {
    return text.empty() ? "must not be empty" : "";
}

/// unix(7): sun_path has 108 bytes, with the final zero.
[[nodiscard]] constexpr std::string_view names_socket(std::string_view text) {
    return text.empty() || text.size() > 107 ? "must be a path of 1 to 107 bytes, as that of every unix socket" : "";
}

/// What a field must be besides its type.
struct Rule {
    bool required = false;
    bool unless_default = false; ///< it is left out of what is printed when it says nothing
    Range range{0, std::numeric_limits<std::uint64_t>::max()}; ///< of numbers, with the type's own limits
    TextCheck check = nullptr;

    [[nodiscard]] constexpr Rule with(TextCheck text) const {
        Rule rule = *this;
        rule.check = text;
        return rule;
    }
    [[nodiscard]] constexpr Rule within(std::uint64_t first, std::uint64_t last) const {
        Rule rule = *this;
        rule.range = {first, last};
        return rule;
    }
};

inline constexpr Rule mandatory{.required = true};
inline constexpr Rule unless_default{.unless_default = true};
[[nodiscard]] constexpr Rule between(std::uint64_t first, std::uint64_t last) {
    return {.range = {first, last}};
}
[[nodiscard]] constexpr Rule mandatory_between(std::uint64_t first, std::uint64_t last) {
    return {.required = true, .range = {first, last}};
}

/// Describes a ByteCount that travels in MiB, as Firecracker's do. Anything else than a whole number is refused, never
/// rounded.
template <typename Size> // ByteCount, or std::optional of it; const when it is printed
struct Mib {
    Size& size;
};
template <typename Size>
Mib(Size&) -> Mib<Size>;

/// Describes a value that travels as one of a few words.
template <typename Value, typename Words>
struct Word {
    Value& value;
    const Words& words;
};
template <typename Value, typename Words>
Word(Value&, const Words&) -> Word<Value, Words>;

template <typename Value, std::size_t Size>
using WordList = std::array<std::pair<std::string_view, Value>, Size>;

namespace detail {
struct AnyVisitor {
    template <typename... T>
    void operator()(T&&...) {}
    void refuse(std::string_view, std::string_view) {}
    template <typename T>
    void only(std::string_view, T, std::string_view) {}
};
} // namespace detail

template <typename T>
concept Described =
    requires(detail::AnyVisitor& visitor, T& value) { std::remove_const_t<T>::describe(visitor, value); };

/// A type that travels in the form of another, which is described: it is made by T::from(Wire), and printed as wire().
template <typename T>
concept Travels = requires(const T& value) {
    typename T::Wire;
    value.wire();
};
/// A type that travels as text, which it reads and makes itself; what it says of wrong text goes on after the field's
/// name: "must be ...".
template <typename T>
concept Textual = requires(const T& value, std::string_view text) {
    { T::parse(text).value() } -> std::convertible_to<T>;
    { value.text() } -> std::convertible_to<std::string_view>;
};
template <typename T>
concept Readable = Described<T> || Travels<T>;

/// The name of an object in messages: "balloon.amount_mib: is missing".
template <typename T>
constexpr std::string_view name_in_messages() {
    if constexpr (requires { T::object; })
        return T::object;
    else
        return "";
}

/// Where a request goes. A path that ends with a slash is followed by an id, which the body repeats.
struct Endpoint {
    std::string_view method;
    std::string_view path;
};

} // namespace aerate::control
