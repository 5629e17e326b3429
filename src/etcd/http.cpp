#include "etcd/http.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <fmt/format.h>

namespace aerate::etcd {
namespace {

namespace http = boost::beast::http;

} // namespace

struct HttpReader::State {
    http::response_parser<http::string_body> parser;
    std::string pending; ///< what the parser has not taken, for want of the rest of a line
};

HttpReader::HttpReader()
    : state_(std::make_unique<State>()) {
    state_->parser.eager(true);
    state_->parser.header_limit(longest_header);
    state_->parser.body_limit(longest_body);
}
HttpReader::~HttpReader() = default;
HttpReader::HttpReader(HttpReader&&) noexcept = default;

Result<> HttpReader::take(std::span<const std::byte> bytes) {
    auto& [parser, pending] = *state_;
    boost::system::error_code error;
    if (bytes.empty()) {
        // The parser takes no data at all for a successful answer.
        if (parser.got_some())
            parser.put_eof(error);
        return error || !parser.is_done() ? fail("it closed the connection without an answer") : Result<>();
    }
    pending.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    while (!pending.empty() && !parser.is_done()) {
        const std::size_t used = parser.put(boost::asio::buffer(pending), error);
        pending.erase(0, used);
        if (error == http::error::need_more)
            return pending.size() > longest_header ? fail("its answer has a header that does not end") : Result<>();
        if (error)
            return fail("its answer is not HTTP, or too long: {}", error.message());
    }
    return {};
}

bool HttpReader::done() const {
    return state_->parser.is_done();
}

HttpAnswer HttpReader::answer() {
    return {state_->parser.get().result_int(), std::move(state_->parser.get().body())};
}

std::string http_request(std::string_view host, std::string_view path, std::string_view token, std::string_view body) {
    const std::string authorization = token.empty() ? "" : fmt::format("Authorization: {}\r\n", token);
    return fmt::format("POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nConnection: close\r\n"
                       "Content-Length: {}\r\n{}\r\n{}",
                       path, host, body.size(), authorization, body);
}

} // namespace aerate::etcd
