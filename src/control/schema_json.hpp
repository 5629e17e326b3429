// Reads and prints described objects (schema.hpp) as JSON. Included where requests and answers become text: the router,
// the replies, the client.
#pragma once

#include "control/json.hpp"
#include "control/schema.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace aerate::control {

namespace detail {
template <typename T>
inline constexpr bool is_duration = false;
template <typename Count, typename Unit>
inline constexpr bool is_duration<std::chrono::duration<Count, Unit>> = true;
template <typename T>
inline constexpr bool is_optional = false;
template <typename T>
inline constexpr bool is_optional<std::optional<T>> = true;
template <typename T>
inline constexpr bool is_list = false;
template <typename T>
inline constexpr bool is_list<std::vector<T>> = true;

using Numbers = std::map<std::string, std::uint64_t>;
using Texts = std::vector<std::pair<std::string, std::string>>;
} // namespace detail

template <Readable T>
[[nodiscard]] Result<T> read_object(const Json&, Unknown = Unknown::refused);
template <Readable T>
[[nodiscard]] Result<Json> print_object(const T&);

/// Visits an object's members and gives them what its JSON says.
class Reader {
public:
    explicit Reader(Fields& fields, Unknown unknown)
        : fields_(fields)
        , unknown_(unknown) {}

    template <typename T>
    void operator()(std::string_view name, T& into, const Rule& rule = {}) {
        const Presence presence = rule.required ? Presence::required : Presence::optional;
        if constexpr (detail::is_optional<T>)
            read_optional(name, into, rule);
        else if constexpr (std::is_same_v<T, bool>)
            fields_.boolean(name, into, presence);
        else if constexpr (std::is_same_v<T, std::string>)
            read_text(name, into, rule, presence);
        else if constexpr (std::integral<T>)
            fields_.number(name, into, {rule.range.first, limit<T>(rule)}, presence);
        else if constexpr (detail::is_duration<T>)
            fields_.number(name, into, {rule.range.first, limit<typename T::rep>(rule)}, presence);
        else if constexpr (std::is_same_v<T, ByteCount> || std::is_same_v<T, PageCount>)
            fields_.number(name, into.value, rule.range, presence);
        else if constexpr (std::is_same_v<T, detail::Numbers> || std::is_same_v<T, detail::Texts>)
            read_map(name, into);
        else if constexpr (detail::is_list<T>)
            read_list(name, into, presence);
        else if constexpr (Textual<T>)
            read_textual(name, into, presence);
        else if (const Json* child = fields_.child(name, presence))
            accept(read_object<T>(*child, unknown_), into);
    }
    template <typename Size>
    void operator()(std::string_view name, Mib<Size> mib, const Rule& rule = {}) {
        if constexpr (detail::is_optional<Size>) {
            ByteCount size{};
            (*this)(name, Mib{size}, rule);
            if (fields_.has(name))
                mib.size = size;
        } else {
            std::uint64_t count = mib.size.value >> 20;
            constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max() >> 20;
            fields_.number(name, count, {rule.range.first, std::min(rule.range.last, most)},
                           rule.required ? Presence::required : Presence::optional);
            if (fields_.has(name))
                mib.size = ByteCount{count << 20};
        }
    }
    template <typename Value, typename Words>
    void operator()(std::string_view name, Word<Value, Words> word, const Rule& rule = {}) {
        const Presence presence = rule.required ? Presence::required : Presence::optional;
        if constexpr (detail::is_optional<Value>) {
            typename Value::value_type value{};
            fields_.choice(name, value, word.words, presence);
            if (fields_.has(name))
                word.value = value;
        } else {
            fields_.choice(name, word.value, word.words, presence);
        }
    }
    /// Refuses a field that others know and this program does not support.
    void refuse(std::string_view name, std::string_view advice) { fields_.unsupported(name, advice); }
    /// Accepts a field of which this program knows one value.
    template <typename T>
    void only(std::string_view name, const T& value, std::string_view advice) {
        const Json* given = fields_.child(name);
        if (given != nullptr && *given != Json(value))
            fields_.error(name, advice);
    }

private:
    template <typename T>
    static std::uint64_t limit(const Rule& rule) {
        return std::min(rule.range.last, static_cast<std::uint64_t>(std::numeric_limits<T>::max()));
    }
    template <typename T>
    void read_optional(std::string_view name, std::optional<T>& into, const Rule& rule) {
        T value{};
        (*this)(name, value, rule);
        if (fields_.has(name))
            into = std::move(value);
    }
    void read_text(std::string_view name, std::string& into, const Rule& rule, Presence presence) {
        fields_.string(name, into, presence);
        if (rule.check != nullptr && fields_.has(name))
            if (const std::string_view wrong = rule.check(into); !wrong.empty())
                fields_.error(name, wrong);
    }
    template <Textual T>
    void read_textual(std::string_view name, T& into, Presence presence) {
        std::string text;
        fields_.string(name, text, presence);
        if (fields_.has(name))
            parse(name, text, into);
    }
    template <Textual T>
    void parse(std::string_view name, std::string_view text, T& into) {
        if (auto parsed = T::parse(text))
            into = *std::move(parsed);
        else
            fields_.error(name, parsed.error().message);
    }
    template <typename Map>
    void read_map(std::string_view name, Map& into) {
        const Json* child = fields_.child(name);
        if (child == nullptr)
            return;
        Fields members(*child, name);
        const auto read_member = [&](const std::string& key) {
            if constexpr (std::is_same_v<Map, detail::Numbers>)
                members.number(key, into[key], Rule{}.range);
            else
                members.string(key, into.emplace_back(key, "").second);
        };
        if (child->is_object()) {
            for (const auto& [key, value] : child->items())
                read_member(key);
        }
        fields_.absorb(members.finish());
    }
    template <typename T>
    void read_list(std::string_view name, std::vector<T>& into, Presence presence) {
        const Json* child = fields_.child(name, presence);
        if (child == nullptr)
            return;
        if (!child->is_array())
            return fields_.error(name, "must be a list");
        for (const Json& element : *child) {
            if constexpr (Readable<T>)
                accept(read_object<T>(element, unknown_), into.emplace_back());
            else if constexpr (std::is_same_v<T, std::uint64_t>)
                read_count(name, element, into);
            else if (!element.is_string())
                fields_.error(name, "must be a list of strings");
            else if constexpr (Textual<T>)
                parse(name, element.template get<std::string>(), into.emplace_back());
            else
                into.push_back(element.template get<T>());
        }
    }
    void read_count(std::string_view name, const Json& element, std::vector<std::uint64_t>& into) {
        if (!element.is_number_unsigned())
            return fields_.error(name, "must be a list of whole numbers");
        into.push_back(element.get<std::uint64_t>());
    }
    template <typename T>
    void accept(Result<T> read, T& into) {
        if (read)
            into = *std::move(read);
        else
            fields_.absorb(std::unexpected(std::move(read).error()));
    }

    Fields& fields_;
    Unknown unknown_;
};

/// Visits an object's members and makes JSON of them.
class Writer {
public:
    template <typename T>
    void operator()(std::string_view name, const T& value, const Rule& rule = {}) {
        if constexpr (detail::is_optional<T>) {
            if (value)
                (*this)(name, *value);
        } else if (!rule.unless_default || !(value == T{})) {
            put(name, value);
        }
    }
    template <typename Size>
    void operator()(std::string_view name, Mib<Size> mib, const Rule& = {}) {
        if constexpr (detail::is_optional<std::remove_const_t<Size>>) {
            if (mib.size)
                (*this)(name, Mib{*mib.size});
        } else {
            if (mib.size.value % (1U << 20) != 0 && error_.empty())
                error_ = fmt::format("{}: {} bytes are not a whole number of MiB", name, mib.size.value);
            json_[std::string(name)] = mib.size.value >> 20;
        }
    }
    template <typename Value, typename Words>
    void operator()(std::string_view name, Word<Value, Words> word, const Rule& rule = {}) {
        using T = std::remove_const_t<Value>;
        if constexpr (detail::is_optional<T>) {
            if (word.value)
                (*this)(name, Word{*word.value, word.words});
        } else if (!rule.unless_default || !(word.value == T{})) {
            const auto found = std::ranges::find(word.words, word.value, &Words::value_type::second);
            if (found != word.words.end())
                json_[std::string(name)] = found->first;
        }
    }
    void refuse(std::string_view, std::string_view) {}
    template <typename T>
    void only(std::string_view, const T&, std::string_view) {}

    [[nodiscard]] Result<Json> finish() {
        if (!error_.empty())
            return std::unexpected(Error{error_, 0});
        return std::move(json_);
    }

private:
    template <typename T>
    void put(std::string_view name, const T& value) {
        Json& into = json_[std::string(name)];
        if constexpr (detail::is_duration<T>) {
            into = value.count();
        } else if constexpr (std::is_same_v<T, ByteCount> || std::is_same_v<T, PageCount>) {
            into = value.value;
        } else if constexpr (std::is_same_v<T, detail::Texts>) {
            into = Json::object();
            for (const auto& [key, text] : value)
                into[key] = text;
        } else if constexpr (detail::is_list<T>) {
            into = Json::array();
            for (const auto& element : value)
                if constexpr (Readable<typename T::value_type>)
                    into.push_back(accept(print_object(element)));
                else if constexpr (Textual<typename T::value_type>)
                    into.push_back(element.text());
                else
                    into.push_back(element);
        } else if constexpr (Readable<T>) {
            into = accept(print_object(value));
        } else if constexpr (Textual<T>) {
            into = value.text();
        } else {
            into = value;
        }
    }
    Json accept(Result<Json> printed) {
        if (printed)
            return *std::move(printed);
        if (error_.empty())
            error_ = std::move(printed).error().message;
        return {};
    }

    Json json_ = Json::object();
    std::string error_;
};

/// Reads a T. The error names the field and says what it must be; T::check(), if there is one, has the last word.
template <Readable T>
Result<T> read_object(const Json& json, Unknown unknown) {
    if constexpr (Travels<T>) {
        return T::from(TRY(read_object<typename T::Wire>(json, unknown)));
    } else {
        T object{};
        Fields fields(json, name_in_messages<T>());
        Reader reader(fields, unknown);
        T::describe(reader, object);
        TRY(fields.finish(unknown));
        if constexpr (requires { T::check(object); })
            TRY(T::check(object));
        return object;
    }
}

/// Prints a T. Fails if a size does not fit its unit.
template <Readable T>
Result<Json> print_object(const T& object) {
    if constexpr (Travels<T>) {
        return print_object(object.wire());
    } else {
        Writer writer;
        T::describe(writer, object);
        return writer.finish();
    }
}

} // namespace aerate::control
