// Strict reading of JSON from callers who may be hostile, and the reading of an object field by field.
//
//     Fields fields(json, "balloon");
//     fields.boolean("deflate_on_oom", config.deflate_on_oom, Presence::required);
//     TRY(fields.finish());          // the first thing that was wrong, or a field that nobody asked for
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"
#include "control/schema.hpp"

#include <nlohmann/json_fwd.hpp>

#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace aerate::control {

using Json = nlohmann::json;

inline constexpr int json_depth_max = 32;

/// Refuses what JSON parsers disagree on: duplicate keys, invalid UTF-8, trailing text, numbers out of range; and
/// nesting deeper than json_depth_max.
[[nodiscard]] Result<Json> parse_json(std::string_view text);
[[nodiscard]] std::string print_json(const Json&);

enum class Presence : std::uint8_t { optional, required };
enum class Unknown : std::uint8_t { refused, ignored };

/// Reads an object's fields into variables. A field that is absent or null leaves its variable as it is. Errors are
/// remembered, the first one wins. Borrows the JSON.
class Fields {
public:
    /// `where` goes before a field's name in messages; may be empty.
    Fields(const Json& object, std::string_view where);

    void number(std::string_view name, std::uint64_t& into, Range, Presence = Presence::optional);
    /// REQUIRES: the range fits.
    template <std::integral N>
    void number(std::string_view name, N& into, Range range, Presence presence = Presence::optional) {
        auto wide = static_cast<std::uint64_t>(into);
        number(name, wide, range, presence);
        into = static_cast<N>(wide);
    }
    /// Reads a duration in its own unit.
    template <typename Count, typename Unit>
    void number(std::string_view name, std::chrono::duration<Count, Unit>& into, Range range,
                Presence presence = Presence::optional) {
        auto count = static_cast<std::uint64_t>(into.count());
        number(name, count, range, presence);
        into = std::chrono::duration<Count, Unit>(count);
    }
    void boolean(std::string_view name, bool& into, Presence = Presence::optional);
    /// Reads text without control characters.
    void string(std::string_view name, std::string& into, Presence = Presence::optional);
    template <typename Enum, std::size_t Size>
    void choice(std::string_view name, Enum& into, const std::array<std::pair<std::string_view, Enum>, Size>& words,
                Presence presence = Presence::optional) {
        std::string word;
        string(name, word, presence);
        if (word.empty() && find(name) == nullptr)
            return;
        std::string allowed;
        for (const auto& [text, value] : words) {
            if (text == word) {
                into = value;
                return;
            }
            allowed += (allowed.empty() ? "" : ", ") + std::string(text);
        }
        error(name, "must be one of: " + allowed);
    }
    /// Returns the field's value, or a null pointer when it is absent or null.
    const Json* child(std::string_view name, Presence = Presence::optional);
    [[nodiscard]] bool has(std::string_view name) const { return find(name) != nullptr; }
    /// Refuses a field that others know and this program does not support.
    void unsupported(std::string_view name, std::string_view advice);
    void error(std::string_view name, std::string_view what);
    /// Takes over what was wrong with an object inside this one.
    void absorb(Result<void> inner);

    [[nodiscard]] Result<void> finish(Unknown = Unknown::refused);

private:
    const Json* find(std::string_view name) const;
    const Json* take(std::string_view name, Presence);

    const Json& object_;
    std::string where_;
    std::set<std::string, std::less<>> asked_;
    std::string error_;
};

} // namespace aerate::control
