#include "mmds/session.hpp"

#include "base/check.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include <algorithm>
#include <iterator>

namespace aerate::mmds {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;

std::string text_of(beast::string_view text) {
    return {text.data(), text.size()};
}

/// Returns the value of a header that has two names, Firecracker's and EC2's.
std::optional<std::string> value_of(const http::fields& fields, const char* name, const char* ec2_name, Request& into) {
    const auto count = fields.count(name) + fields.count(ec2_name);
    into.several_values |= count > 1;
    if (count == 0)
        return std::nullopt;
    return text_of(fields.count(name) > 0 ? fields[name] : fields[ec2_name]);
}

Request read(const http::request<http::string_body>& message) {
    constexpr const char* ec2_life = "X-aws-ec2-metadata-token-ttl-seconds";
    Request request;
    request.method = text_of(message.method_string());
    request.target = text_of(message.target());
    for (const auto& field : message)
        if (field.name() == http::field::accept)
            request.accept += text_of(field.value()) + ",";
    request.token = value_of(message, "X-metadata-token", "X-aws-ec2-metadata-token", request);
    request.token_life = value_of(message, "X-metadata-token-ttl-seconds", ec2_life, request);
    request.ec2_names = message.count(ec2_life) > 0;
    request.forwarded = message.count("X-Forwarded-For") > 0;
    return request;
}

std::string_view reason(unsigned status) {
    const auto text = http::obsolete_reason(http::int_to_status(status));
    return {text.data(), text.size()};
}

} // namespace

std::size_t Session::room() const {
    return over_ || !output_.empty() ? 0 : request_max - input_.size();
}

void Session::receive(std::string_view bytes, Tokens::Time now) {
    CHECK(bytes.size() <= room());
    input_ += bytes;
    serve(now);
}

void Session::sent(std::size_t bytes, Tokens::Time now) {
    sent_ += bytes;
    CHECK(sent_ <= output_.size());
    if (sent_ < output_.size())
        return;
    output_.clear();
    sent_ = 0;
    if (!over_)
        serve(now);
}

/// Answers the first request of the input, if it is all there.
void Session::serve(Tokens::Time now) {
    if (input_.empty())
        return;
    const auto refuse = [this](unsigned status, std::string why) {
        over_ = true; // where the next request begins is not known
        reply({.status = status, .body = std::move(why) + "."});
    };
    // From the start each time: a request comes in one segment or two, and never has more than request_max bytes.
    http::request_parser<http::string_body> parser;
    parser.eager(true);
    parser.header_limit(request_max);
    parser.body_limit(request_max);
    beast::error_code error;
    const std::size_t taken = parser.put(boost::asio::const_buffer(input_.data(), input_.size()), error);
    if (error == http::error::need_more || (!error && !parser.is_done())) {
        if (input_.size() == request_max)
            refuse(413, "The request is too long");
        return;
    }
    if (error)
        return refuse(400, "Malformed HTTP");
    const auto& message = parser.get();
    if (static_cast<std::size_t>(std::distance(message.begin(), message.end())) > fields_max)
        return refuse(431, "Too many headers");
    if (message.count(http::field::transfer_encoding) > 0 || message.count(http::field::content_length) > 1)
        return refuse(400, "A body needs one Content-Length");
    over_ = !message.keep_alive();
    reply(answer(source_, read(message), now));
    input_.erase(0, taken);
}

void Session::reply(const Response& response) {
    output_ =
        fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n", response.status,
                    reason(response.status), response.json ? "application/json" : "text/plain", response.body.size());
    if (!response.allow.empty())
        output_ += fmt::format("Allow: {}\r\n", response.allow);
    if (!response.life_header.empty())
        output_ += fmt::format("{}: {}\r\n", response.life_header, response.life);
    output_ += over_ ? "Connection: close\r\n\r\n" : "Connection: keep-alive\r\n\r\n";
    output_ += response.body;
}

} // namespace aerate::mmds
