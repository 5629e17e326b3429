#include "mmds/store.hpp"

#include "control/json.hpp"

#include <nlohmann/json.hpp>

#include <charconv>

namespace aerate::mmds {
namespace {

using control::Json;

/// Undoes a pointer's escapes. RFC 6901, 4: "~1" before "~0", so that "~01" is "~1".
std::string key_of(std::string_view step) {
    std::string key;
    for (std::size_t i = 0; i < step.size(); ++i) {
        const bool escape = step[i] == '~' && i + 1 < step.size() && (step[i + 1] == '0' || step[i + 1] == '1');
        key += escape ? (step[i + 1] == '0' ? '~' : '/') : step[i];
        i += escape ? 1 : 0;
    }
    return key;
}

const Json* element(const Json& list, std::string_view step) {
    std::size_t index = 0;
    const auto [end, error] = std::from_chars(step.data(), step.data() + step.size(), index);
    const bool number = error == std::errc() && end == step.data() + step.size();
    if (!number || (step.size() > 1 && step.front() == '0') || index >= list.size())
        return nullptr;
    return &list[index];
}

const Json* find(const Json& document, std::string_view path) {
    const Json* at = &document;
    while (!path.empty()) {
        const auto from = path.find_first_not_of('/');
        if (from == 0)
            return nullptr; // a step begins with a slash
        if (from == path.npos)
            break;
        path.remove_prefix(from);
        const std::string_view step = path.substr(0, path.find('/'));
        path.remove_prefix(step.size());
        if (at->is_object()) {
            const auto member = at->find(key_of(step));
            at = member == at->end() ? nullptr : &*member;
        } else {
            at = at->is_array() ? element(*at, step) : nullptr;
        }
        if (at == nullptr)
            return nullptr;
    }
    return at;
}

std::string keys_of(const Json& object) {
    std::string keys;
    for (const auto& [key, value] : object.items())
        keys += (keys.empty() ? "" : "\n") + key + (value.is_object() ? "/" : "");
    return keys;
}

} // namespace

struct Store::Document {
    Json json;
};

Store::Store(std::size_t limit)
    : limit_(limit) {}
Store::~Store() = default;

std::expected<void, Store::Refusal> Store::take(Document document) {
    if (control::print_json(document.json).size() > limit_)
        return std::unexpected(
            Refusal{.too_large = true, .message = fmt::format("the metadata would be longer than {} bytes", limit_)});
    document_ = std::make_unique<Document>(std::move(document));
    return {};
}

std::expected<void, Store::Refusal> Store::put(std::string_view text) {
    auto json = control::parse_json(text);
    if (!json)
        return std::unexpected(Refusal{.message = std::move(json).error().message});
    return take({*std::move(json)});
}

std::expected<void, Store::Refusal> Store::patch(std::string_view text) {
    const auto json = control::parse_json(text);
    if (!json)
        return std::unexpected(Refusal{.message = json.error().message});
    if (!document_)
        return std::unexpected(Refusal{.message = "there are no metadata to patch: PUT /mmds first"});
    Document patched = *document_;
    patched.json.merge_patch(*json);
    return take(std::move(patched));
}

std::string Store::print() const {
    return document_ ? control::print_json(document_->json) : "{}";
}

std::expected<std::string, Store::Missing> Store::get(std::string_view path, Format format) const {
    const Json* const value = document_ ? find(document_->json, path) : nullptr;
    if (value == nullptr)
        return std::unexpected(Missing::value);
    if (format == Format::json)
        return control::print_json(*value);
    if (value->is_object())
        return keys_of(*value);
    if (value->is_string())
        return value->get<std::string>();
    return std::unexpected(Missing::form);
}

} // namespace aerate::mmds
