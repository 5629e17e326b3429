#include "etcd/claim.hpp"

#include "base/printable.hpp"
#include "control/json.hpp"

#include <nlohmann/json.hpp>
#include <openssl/evp.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <limits>
#include <vector>

namespace aerate::etcd {
namespace {

using control::Fields;
using control::Json;
using control::Presence;
using control::Unknown;
using migration::Session;
using migration::Side;
using Terms = migration::Lease::Terms;

constexpr std::string_view unclaimed = "-";
constexpr std::size_t longest_token = 4096;
constexpr std::size_t longest_value = 256;

std::string base64(std::string_view text) {
    std::string into((text.size() + 2) / 3 * 4 + 1, '\0'); // with EVP's final zero
    ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(into.data()),
                      reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
    into.pop_back();
    return into;
}

/// Returns nothing for what base64() does not write.
std::optional<std::string> from_base64(std::string_view text) {
    if (text.size() % 4 != 0 || text.size() > longest_value * 2)
        return {};
    std::string bytes(text.size() / 4 * 3, '\0');
    if (::EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                          reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size())) < 0)
        return {};
    bytes.resize(bytes.size() - std::min<std::size_t>(static_cast<std::size_t>(std::ranges::count(text, '=')), 2));
    if (base64(bytes) != text)
        return {};
    return bytes;
}

std::string_view name_of(Side side) {
    return side == Side::source ? "source" : "destination";
}

std::string value_of(const std::array<std::byte, 16>& id, std::string_view claimant) {
    return Session{id}.hex() + " " + std::string(claimant);
}

/// Reads what value_of() has written.
Result<Holder> parse_value(std::string_view value) {
    const auto space = value.find(' ');
    Holder holder;
    holder.terms.id = TRY(Session::parse(value.substr(0, space))).value;
    const std::string_view claimant = space == value.npos ? "" : value.substr(space + 1);
    if (claimant == unclaimed)
        return holder;
    const auto between = claimant.find(' ');
    holder.last = TRY(Session::parse(claimant.substr(0, between)));
    const std::string_view side = between == claimant.npos ? "" : claimant.substr(between + 1);
    if (side != name_of(Side::source) && side != name_of(Side::destination))
        return fail("it names no side");
    holder.side = side == name_of(Side::source) ? Side::source : Side::destination;
    return holder;
}

/// A version is a positive int64, which JSON has as text.
Result<std::uint64_t> parse_version(std::string_view text) {
    std::uint64_t version = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version);
    if (error != std::errc() || end != text.data() + text.size() || version == 0 ||
        version > std::numeric_limits<std::int64_t>::max())
        return fail("its version is not a count");
    return version;
}

Result<Holder> parse_pair(const Json& pair, std::string_view key) {
    std::string encoded_key;
    std::string encoded_value;
    std::string version;
    Fields fields(pair, "kvs");
    fields.string("key", encoded_key, Presence::required);
    fields.string("value", encoded_value, Presence::required);
    fields.string("version", version, Presence::required);
    TRY(fields.finish(Unknown::ignored));
    const auto value = from_base64(encoded_value);
    if (from_base64(encoded_key) != key || !value)
        return fail("it answers with another key, or none");
    auto holder = parse_value(*value);
    if (!holder)
        return fail_because(std::move(holder).error(), "{} is not a lease of aerate", key);
    holder->terms.epoch = TRY(parse_version(version)) - 1;
    return holder;
}

/// Returns the object or array of that name; null when it is absent.
const Json* member(const Json& object, const char* name, Json::value_t type) {
    if (!object.is_object())
        return nullptr;
    const auto found = object.find(name);
    return found == object.end() || found->type() != type ? nullptr : &*found;
}

std::string transaction(Json compare, Json success, std::string_view key) {
    const Json read{{{"request_range", {{"key", base64(key)}}}}};
    return control::print_json(
        {{"compare", std::move(compare)}, {"success", Json::array({std::move(success)})}, {"failure", read}});
}

Json put(std::string_view key, std::string_view value) {
    return {{"request_put", {{"key", base64(key)}, {"value", base64(value)}}}};
}

} // namespace

std::string creation(std::string_view key, const std::array<std::byte, 16>& id) {
    const Json absent{{"key", base64(key)}, {"target", "CREATE"}, {"result", "EQUAL"}, {"create_revision", "0"}};
    return transaction(Json::array({absent}), put(key, value_of(id, unclaimed)), key);
}

std::string claim(std::string_view key, const Terms& terms, const Session& session, Side side) {
    // Between "ID " and "ID!", the next text of that length, are the values that begin with "ID ".
    const std::string id = Session{terms.id}.hex();
    const auto compare_value = [&](const char* result, const std::string& value) {
        return Json{{"key", base64(key)}, {"target", "VALUE"}, {"result", result}, {"value", base64(value)}};
    };
    const Json version{
        {"key", base64(key)}, {"target", "VERSION"}, {"result", "EQUAL"}, {"version", std::to_string(terms.epoch + 1)}};
    return transaction(Json::array({version, compare_value("GREATER", id + " "), compare_value("LESS", id + "!")}),
                       put(key, value_of(terms.id, session.hex() + " " + std::string(name_of(side)))), key);
}

Result<Outcome> parse_outcome(std::string_view body, std::string_view key) {
    const Json json = TRY(control::parse_json(body));
    Outcome outcome;
    Fields fields(json, "");
    fields.boolean("succeeded", outcome.succeeded);
    TRY(fields.finish(Unknown::ignored));
    const Json* const responses = member(json, "responses", Json::value_t::array);
    if (responses == nullptr || responses->size() != 1)
        return fail("it does not answer what was asked");
    const char* const kind = outcome.succeeded ? "response_put" : "response_range";
    const Json* const response = member(responses->front(), kind, Json::value_t::object);
    if (response == nullptr)
        return fail("it does not answer what was asked: there is no {}", kind);
    if (outcome.succeeded)
        return outcome;
    const Json* const pairs = member(*response, "kvs", Json::value_t::array);
    if (pairs == nullptr || pairs->empty())
        return outcome;
    if (pairs->size() != 1)
        return fail("it answers with {} keys, where one was asked for", pairs->size());
    outcome.holder = TRY(parse_pair(pairs->front(), key));
    return outcome;
}

Result<bool> judge(const Outcome& outcome, const Terms& terms, const Session& session, Side side) {
    if (outcome.succeeded)
        return true;
    if (!outcome.holder || outcome.holder->terms.id != terms.id)
        return fail("the lease was replaced by another, or removed");
    const Holder& now = *outcome.holder;
    if (now.terms.epoch <= terms.epoch)
        return fail("etcd contradicts itself: it refuses a claim of what nobody has claimed");
    return now.terms.epoch == terms.epoch + 1 && now.last == session && now.side == side;
}

std::string login(std::string_view user, std::string_view password) {
    return control::print_json({{"name", user}, {"password", password}});
}

Result<std::string> parse_token(std::string_view body) {
    const Json json = TRY(control::parse_json(body));
    std::string token;
    Fields fields(json, "");
    fields.string("token", token, Presence::required);
    TRY(fields.finish(Unknown::ignored));
    const auto visible = [](char letter) { return letter > ' ' && letter < '\x7f'; };
    if (token.empty() || token.size() > longest_token || !std::ranges::all_of(token, visible))
        return fail("the token that it gives is not one");
    return token;
}

std::string parse_refusal(std::string_view body) {
    constexpr std::size_t longest = 200;
    const auto json = control::parse_json(body);
    if (!json) // it says some things in plain text
        return printable(body.substr(0, body.find('\n')), longest);
    std::string text;
    Fields fields(*json, "");
    fields.string("error", text);
    return printable(text, longest);
}

} // namespace aerate::etcd
