// A hostile member of an etcd cluster: what it answers, in pieces, as HTTP and then as the JSON of its gateway. The
// first byte says how long the pieces are. What is accepted must be what can be judged.
#include "base/check.hpp"
#include "etcd/claim.hpp"
#include "etcd/http.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace aerate::etcd {
namespace {

void read_body(std::string_view body) {
    if (const auto outcome = parse_outcome(body, "aerate/lease/web")) {
        CHECK(!outcome->succeeded || !outcome->holder);
        if (outcome->holder) {
            const auto& terms = outcome->holder->terms;
            const auto mine = judge(*outcome, {terms.id, terms.epoch - 1},
                                    outcome->holder->last.value_or(migration::Session{}), outcome->holder->side);
            CHECK(terms.epoch == 0 || (mine && *mine == outcome->holder->last.has_value()));
        }
    }
    if (const auto token = parse_token(body))
        CHECK(!token->empty() && token->find_first_of("\r\n ") == token->npos);
    CHECK(parse_refusal(body).size() < 1024);
}

void drive(std::span<const std::byte> input) {
    const std::size_t piece = 1 + std::to_integer<std::size_t>(input.front());
    HttpReader reader;
    for (input = input.subspan(1); !reader.done(); input = input.subspan(std::min(piece, input.size())))
        if (!reader.take(input.first(std::min(piece, input.size()))))
            return;
    const HttpAnswer answer = reader.answer();
    CHECK(answer.body.size() <= HttpReader::longest_body);
    read_body(answer.body);
}

} // namespace
} // namespace aerate::etcd

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0)
        return 0;
    aerate::etcd::read_body({reinterpret_cast<const char*>(data), size});
    aerate::etcd::drive(std::as_bytes(std::span(data, size)));
    return 0;
}
