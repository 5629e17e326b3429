// A hostile guest of the metadata service, and a hostile text for its store. The first byte says which of three the
// rest is: what a connection says, a frame and a packet from the namespace, or documents and a path.
#include "base/check.hpp"
#include "control/json.hpp"
#include "mmds/detour.hpp"
#include "mmds/session.hpp"
#include "net/testing/fake_back_end.hpp"

#include <nlohmann/json.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace aerate::mmds {
namespace {

constexpr Ipv4Address service{169, 254, 169, 254};

/// Each answer has a status, and the body that its length says.
void check_answer(std::string_view answer) {
    CHECK(answer.starts_with("HTTP/1.1 "));
    const auto end = answer.find("\r\n\r\n");
    const auto length = answer.find("Content-Length: ");
    CHECK(end != answer.npos && length < end);
    CHECK(std::stoul(std::string(answer.substr(length + 16, 20))) == answer.size() - end - 4);
}

void connect(std::string_view input, bool v2, std::size_t piece) {
    static const Tokens tokens = Tokens::create().value();
    static const Store& store = *[] {
        auto* const made = new Store;
        CHECK(made->put(R"({"latest": {"meta-data": {"id": "i-1", "~": [1, "x"]}}, "": 0})"));
        return made;
    }();
    const Source source{.store = store,
                        .tokens = tokens,
                        .version = v2 ? control::MmdsVersion::v2 : control::MmdsVersion::v1,
                        .imds_compat = piece % 2 == 0};
    const Tokens::Time now{std::chrono::hours(1)};
    Session session(source);
    while (!input.empty() && !session.over()) {
        CHECK(session.room() > 0);
        const auto part = input.substr(0, std::min(piece, session.room()));
        input.remove_prefix(part.size());
        session.receive(part, now);
        while (!session.output().empty()) {
            check_answer(session.output());
            CHECK(session.room() == 0);
            // Without a token nothing is shown but what the request itself has said; tokens have no '-'.
            CHECK(!v2 || !session.output().starts_with("HTTP/1.1 200") || !session.output().contains("i-1"));
            session.sent(session.output().size(), now);
        }
    }
}

void pass(std::span<const std::uint8_t> input, std::size_t cut) {
    std::array<int, 2> ends{};
    CHECK(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0);
    const FileDescriptor space(ends[1]);
    const auto network = std::make_shared<net::testing::FakeBackEnd>();
    const auto detour = Detour::create(network, FileDescriptor(ends[0]), service, std::make_shared<Counters>()).value();
    std::array<std::byte, 65536> got;

    std::vector<std::uint8_t> frame(input.begin(), input.end());
    cut = std::min(cut, frame.size());
    const std::array<iovec, 2> pieces{iovec{frame.data(), cut}, iovec{frame.data() + cut, frame.size() - cut}};
    const auto outcome = detour->send(pieces);
    CHECK((outcome == net::Outcome::done) == (network->sent.size() == 1));
    const ssize_t sent = ::recv(space.get(), got.data(), got.size(), 0);
    if (sent >= 0) {
        CHECK(outcome == net::Outcome::local && sent >= static_cast<ssize_t>(tun_header_size + ip_header_size));
        CHECK(std::equal(service.begin(), service.end(), reinterpret_cast<std::uint8_t*>(&got[tun_header_size + 16])));
    }

    (void)::send(space.get(), input.data(), input.size(), 0);
    const std::array<iovec, 2> into{iovec{got.data(), std::min<std::size_t>(cut, 30)},
                                    iovec{got.data() + 1000, got.size() - 1000}};
    for (int i = 0; i < 3; ++i) {
        const auto received = detour->receive(into);
        CHECK(received.outcome == net::Outcome::later || received.outcome == net::Outcome::local);
        CHECK(received.outcome == net::Outcome::later || received.bytes >= net::header::size + 34);
    }
}

void keep(std::string_view input) {
    const auto line = [&input] {
        const auto taken = input.substr(0, input.find('\n'));
        input.remove_prefix(std::min(input.size(), taken.size() + 1));
        return taken;
    };
    constexpr std::size_t limit = 200;
    Store store(limit);
    for (int i = 0; i < 3; ++i) {
        const std::string before = store.print();
        const auto text = line();
        const auto taken = i == 0 ? store.put(text) : store.patch(text);
        CHECK(taken || store.print() == before);
        CHECK(store.print().size() <= limit && control::parse_json(store.print()));
    }
    const auto path = line();
    (void)store.get(path, Format::imds);
    if (const auto value = store.get(path, Format::json))
        CHECK(value->size() <= limit && control::parse_json(*value));
}

} // namespace
} // namespace aerate::mmds

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2)
        return 0;
    const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
    switch (data[0] % 4) {
    case 0:
    case 1:
        aerate::mmds::connect(text, data[0] % 4 == 1, data[1] + 1U);
        break;
    case 2:
        aerate::mmds::pass({data + 2, size - 2}, data[1]);
        break;
    default:
        aerate::mmds::keep(text);
    }
    return 0;
}
