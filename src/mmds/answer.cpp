#include "mmds/answer.hpp"

#include <charconv>

namespace aerate::mmds {
namespace {

constexpr std::string_view token_path = "/latest/api/token";

Response refused(unsigned status, std::string why) {
    return {.status = status, .body = std::move(why)};
}

void count(const Source& source, Counters::Count Counters::* which) {
    if (source.counters != nullptr)
        ++(source.counters->*which);
}

/// Returns the path of a target: "/a" of "/a" and of "http://169.254.169.254/a", with one slash for several. Empty:
/// it has none.
std::string path_of(std::string_view target) {
    constexpr std::string_view scheme = "http://";
    if (target.starts_with(scheme)) {
        target.remove_prefix(scheme.size());
        const auto slash = target.find('/');
        target = slash == target.npos ? std::string_view() : target.substr(slash);
    }
    std::string path;
    if (!target.starts_with('/'))
        return path;
    for (const char c : target)
        if (c != '/' || !path.ends_with('/'))
            path += c;
    return path;
}

Response get(const Source& source, const Request& request, const std::string& path, Tokens::Time now) {
    // V1 takes no notice of tokens: guests that begin to use them need not all do so at once.
    if (source.version == control::MmdsVersion::v2) {
        if (!request.token) {
            count(source, &Counters::requests_no_token);
            return refused(401, "No MMDS token provided. Use `X-metadata-token` or `X-aws-ec2-metadata-token` header "
                                "to specify the session token.");
        }
        if (!source.tokens.valid(*request.token, now)) {
            count(source, &Counters::requests_bad_token);
            return refused(401, "MMDS token not valid.");
        }
    }
    const bool json = !source.imds_compat && request.accept.contains("application/json");
    auto found = source.store.get(path, json ? Format::json : Format::imds);
    if (found)
        return {.body = *std::move(found), .json = json};
    if (found.error() == Store::Missing::form)
        return refused(501, "Cannot retrieve value. The value has an unsupported type.");
    return refused(404, "Resource not found: " + path + ".");
}

Response put(const Source& source, const Request& request, const std::string& path, Tokens::Time now) {
    // A proxy that forwards what others ask would give them the token of this guest.
    if (request.forwarded)
        return refused(400, "Invalid header. Reason: Unsupported header name. Key: X-Forwarded-For");
    if (path != token_path)
        return refused(404, "Resource not found: " + path + ".");
    if (!request.token_life)
        return refused(400, "Token time to live value not found. Use `X-metadata-token-ttl-seconds` or "
                            "`X-aws-ec2-metadata-token-ttl-seconds` header to specify the token's lifetime.");
    const std::string& text = *request.token_life;
    std::uint32_t seconds = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    const std::chrono::seconds life(seconds);
    if (error != std::errc() || end != text.data() + text.size() || life < Tokens::life_min || life > Tokens::life_max)
        return refused(400, fmt::format("Invalid time to live value provided for token: {}. Please provide a value "
                                        "between {} and {}.",
                                        text.substr(0, 32), Tokens::life_min.count(), Tokens::life_max.count()));
    auto token = source.tokens.make(life, now);
    if (!token)
        return refused(500, "There is no randomness for a token.");
    return {.body = *std::move(token),
            .life_header = request.ec2_names ? "X-aws-ec2-metadata-token-ttl-seconds" : "X-metadata-token-ttl-seconds",
            .life = text};
}

} // namespace

Response answer(const Source& source, const Request& request, Tokens::Time now) {
    const std::string path = path_of(request.target);
    if (path.empty())
        return refused(400, "Invalid URI.");
    if (request.several_values)
        return refused(400, "Invalid header. Reason: A token or its time to live is given twice.");
    if (request.method == "GET")
        return get(source, request, path, now);
    if (request.method == "PUT")
        return put(source, request, path, now);
    Response response = refused(405, "Not allowed HTTP method.");
    response.allow = "GET, PUT";
    return response;
}

} // namespace aerate::mmds
