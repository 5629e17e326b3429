#include "control/json.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <stdexcept>
#include <vector>

namespace aerate::control {
namespace {

struct Refused : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Called by the parser as it goes, so that neither depth nor duplicates cost memory before they are refused.
class Strictness {
public:
    bool operator()(int depth, Json::parse_event_t event, const Json& parsed) {
        using Event = Json::parse_event_t;
        if ((event == Event::object_start || event == Event::array_start) && depth >= json_depth_max)
            throw Refused(fmt::format("nested deeper than {} levels", json_depth_max));
        if (event == Event::object_start)
            keys_.emplace_back();
        else if (event == Event::object_end)
            keys_.pop_back();
        else if (event == Event::key && !keys_.back().insert(parsed.get_ref<const std::string&>()).second)
            throw Refused("duplicate field: " + parsed.get_ref<const std::string&>());
        return true;
    }

private:
    std::vector<std::set<std::string>> keys_;
};

std::string shortened(std::string text) {
    constexpr std::size_t longest = 200;
    if (text.size() > longest)
        text = text.substr(0, longest) + "...";
    return text;
}

} // namespace

Result<Json> parse_json(std::string_view text) {
    try {
        return Json::parse(text, Strictness());
    } catch (const Refused& refused) {
        return fail("JSON: {}", shortened(refused.what()));
    } catch (const Json::parse_error& error) {
        // The library's own words are about its grammar, not about the text.
        const std::string_view read = text.substr(0, std::min<std::size_t>(error.byte, text.size()));
        const auto line = std::ranges::count(read, '\n') + 1;
        const auto begin = read.rfind('\n') + 1; // npos wraps to 0
        return fail("JSON: the text is not valid at line {}, column {}", line,
                    std::max<std::size_t>(read.size() - begin, 1));
    } catch (const Json::out_of_range&) {
        return fail("JSON: a number is too large");
    } catch (const Json::exception&) {
        return fail("JSON: the text is not valid");
    }
}

std::string print_json(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Fields::Fields(const Json& object, std::string_view where)
    : object_(object)
    , where_(where) {
    if (!object.is_object())
        error_ = fmt::format("{}: must be a JSON object", where.empty() ? "body" : where);
}

void Fields::error(std::string_view name, std::string_view what) {
    if (error_.empty())
        error_ = fmt::format("{}{}{}: {}", where_, where_.empty() ? "" : ".", name, what);
}

void Fields::absorb(Result<void> inner) {
    if (!inner && error_.empty())
        error_ = std::move(inner).error().message;
}

const Json* Fields::find(std::string_view name) const {
    if (!object_.is_object())
        return nullptr;
    const auto found = object_.find(name);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
}

const Json* Fields::take(std::string_view name, Presence presence) {
    asked_.emplace(name);
    const Json* value = find(name);
    if (value == nullptr && presence == Presence::required)
        error(name, "is missing");
    return value;
}

void Fields::number(std::string_view name, std::uint64_t& into, Range range, Presence presence) {
    const Json* value = take(name, presence);
    if (value == nullptr)
        return;
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() < range.first ||
        value->get<std::uint64_t>() > range.last)
        return error(name, fmt::format("must be a whole number from {} to {}", range.first, range.last));
    into = value->get<std::uint64_t>();
}

void Fields::boolean(std::string_view name, bool& into, Presence presence) {
    const Json* value = take(name, presence);
    if (value == nullptr)
        return;
    if (!value->is_boolean())
        return error(name, "must be true or false");
    into = value->get<bool>();
}

void Fields::string(std::string_view name, std::string& into, Presence presence) {
    const Json* value = take(name, presence);
    if (value == nullptr)
        return;
    if (!value->is_string())
        return error(name, "must be a string");
    const auto& text = value->get_ref<const std::string&>();
    if (std::ranges::any_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
        return error(name, "must not contain control characters");
    into = text;
}

const Json* Fields::child(std::string_view name, Presence presence) {
    return take(name, presence);
}

void Fields::unsupported(std::string_view name, std::string_view advice) {
    if (take(name, Presence::optional) != nullptr)
        error(name, advice);
}

Result<void> Fields::finish(Unknown unknown) {
    if (unknown == Unknown::refused && object_.is_object())
        for (const auto& [key, value] : object_.items())
            if (!asked_.contains(key))
                error(key, "unknown field");
    if (!error_.empty())
        return std::unexpected(Error{shortened(error_), 0});
    return {};
}

} // namespace aerate::control
