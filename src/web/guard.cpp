#include "web/guard.hpp"

#include "base/same_but_case.hpp"

#include <boost/asio/ip/address.hpp>

#include <algorithm>
#include <string>

namespace aerate::web {
namespace {

bool is_address(std::string_view name) {
    boost::system::error_code error;
    const auto address = boost::asio::ip::make_address(std::string(name), error);
    return !error && !address.is_unspecified();
}

bool is_port(std::string_view text) {
    return !text.empty() && text.size() <= 5 &&
           std::ranges::all_of(text, [](char digit) { return digit >= '0' && digit <= '9'; });
}

bool is_own_origin(const Access& access, const Request& request) {
    const std::string own = (access.tls ? "https://" : "http://") + std::string(request.host);
    return same_but_case(request.origin, own);
}

} // namespace

std::optional<std::string_view> host_name(std::string_view host) {
    constexpr std::size_t name_max = 255;
    if (host.empty() || host.size() > name_max)
        return std::nullopt;
    std::size_t end = 0;
    if (host.starts_with('[')) {
        end = host.find(']');
        if (end == std::string_view::npos || end == 1)
            return std::nullopt;
        const std::string_view rest = host.substr(end + 1);
        if (!rest.empty() && (rest.front() != ':' || !is_port(rest.substr(1))))
            return std::nullopt;
        return host.substr(1, end - 1);
    }
    end = std::min(host.find(':'), host.size());
    if (end == 0 || (end < host.size() && !is_port(host.substr(end + 1))))
        return std::nullopt;
    return host.substr(0, end);
}

std::optional<Refusal> refuse_host(const Access& access, const Request& request) {
    const auto name = host_name(request.host);
    if (name && (is_address(*name) || same_but_case(*name, "localhost") || access.certified(*name)))
        return std::nullopt;
    return Refusal{421, "the header Host names neither an address, nor localhost, nor what the certificate is for"};
}

bool shows_token(const Access& access, const Request& request) {
    constexpr std::string_view scheme = "Bearer ";
    return request.authorization.size() > scheme.size() &&
           same_but_case(request.authorization.substr(0, scheme.size()), scheme) &&
           access.token.is(request.authorization.substr(scheme.size()));
}

std::optional<Refusal> refuse_caller(const Access& access, const Request& request, const Route& route) {
    if (is_public(route) || (access.metrics_open && std::holds_alternative<GetMetrics>(route)))
        return std::nullopt;
    if (!shows_token(access, request))
        return Refusal{401, "the token is missing or wrong: aerate host prints it when it starts", {}, "Bearer"};
    if (changes_something(route) && !request.origin.empty() && !is_own_origin(access, request))
        return Refusal{403, "another site's page asks for this"};
    return std::nullopt;
}

} // namespace aerate::web
