// How many connections, and how much through them.
#include "base/testing/sanitized.hpp"
#include "vsock/testing/guest.hpp"

#include <gtest/gtest.h>

#include <sys/resource.h>

#include <algorithm>
#include <cstring>
#include <random>

namespace aerate::vsock {
namespace {

using namespace testing;

TEST(VsockLimits, A1024thConnectionIsRefusedUntilAnotherIsClosed) {
    constexpr unsigned most = 1023;
    rlimit files{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = std::min<rlim_t>(files.rlim_max, 4096);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
    ASSERT_GE(files.rlim_cur, 2 * most + 100);
    Vsock::Options options;
    options.connections.max_connections = most;
    Guest guest{{.options = options}};
    std::vector<Guest::Pair> open;
    for (unsigned i = 0; i < most; ++i) {
        HostSocket host = guest.connect();
        host.say("CONNECT 52\n");
        std::optional<Packet> request;
        ASSERT_TRUE(guest.until([&] {
            for (const Packet& packet : guest.packets())
                request = packet;
            return request.has_value();
        })) << i;
        const Ports ports{.host = request->header.source_port, .guest = 52};
        guest.send(Guest::packet(ports, Op::response));
        open.push_back({ports, std::move(host)});
    }
    EXPECT_EQ(guest.device().connections().connections(), most);

    HostSocket refused = guest.connect();
    refused.say("CONNECT 52\n");
    EXPECT_TRUE(guest.until([&] { return refused.heard().empty() && refused.at_end(); }));
    guest.send(Guest::packet({.host = 5000, .guest = 1}, Op::request));
    EXPECT_EQ(guest.next().value().header.op, Op::rst) << "for the guest's calls the limit is the same";

    guest.send(Guest::packet(open.back().ports, Op::shutdown, shutdown_flag::both));
    EXPECT_EQ(guest.next().value().header.op, Op::rst);
    auto again = guest.host_calls(52);
    for (Guest::Pair& pair : open)
        (void)pair.host.heard();
    open.front().host.say("and all others are alive");
    EXPECT_TRUE(guest.next(Op::rw));
}

constexpr std::uint64_t volume = sanitized ? 32ULL << 20 : 1ULL << 30;

/// A sequence of bytes that does not repeat; two of them are the same.
class Sequence {
public:
    /// The next bytes, `most` of them or fewer, at least one.
    std::span<const std::byte> next(std::size_t most) {
        if (taken_ == block_.size() * sizeof(block_[0])) {
            for (std::uint64_t& word : block_)
                word = random_();
            taken_ = 0;
        }
        const auto rest = std::as_bytes(std::span(block_)).subspan(taken_);
        const auto piece = rest.first(std::min(most, rest.size()));
        taken_ += piece.size();
        return piece;
    }
    /// Whether these are the next.
    bool continues_with(std::span<const std::byte> bytes) {
        while (!bytes.empty()) {
            const auto expected = next(bytes.size());
            if (std::memcmp(expected.data(), bytes.data(), expected.size()) != 0)
                return false;
            bytes = bytes.subspan(expected.size());
        }
        return true;
    }

private:
    std::mt19937_64 random_{1}; // NOLINT: the same bytes each time
    std::vector<std::uint64_t> block_ = std::vector<std::uint64_t>(1U << 13);
    std::size_t taken_ = block_.size() * sizeof(std::uint64_t);
};

/// Whether it goes on: not when nothing has come for ten seconds.
class Progress {
public:
    bool made(bool some) {
        const auto now = std::chrono::steady_clock::now();
        if (some)
            last_ = now;
        return now - last_ < std::chrono::seconds(10);
    }

private:
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

TEST(VsockLimits, AGibibyteFromTheHostArrivesAsItWas) {
    Guest guest{{.rx_buffers = 128}};
    auto [ports, host] = guest.host_calls();
    Sequence sequence;
    Sequence expected;
    Progress progress;
    std::span<const std::byte> rest;
    std::uint64_t received = 0;
    std::uint32_t announced = 0;
    bool right = true;
    while (right && received < volume) {
        if (rest.empty())
            rest = sequence.next(64U << 10);
        const ssize_t took = ::send(host.fd(), rest.data(), rest.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        rest = rest.subspan(took > 0 ? static_cast<std::size_t>(took) : 0);
        guest.settle();
        const auto packets = guest.packets();
        for (const Packet& packet : packets) {
            right &= expected.continues_with(packet.payload);
            received += packet.payload.size();
        }
        if (static_cast<std::uint32_t>(received) - announced > 64U << 10) {
            announced = static_cast<std::uint32_t>(received);
            Header update = Guest::packet(ports, Op::credit_update);
            update.forwarded = announced;
            guest.send(update);
        }
        right &= progress.made(!packets.empty());
    }
    EXPECT_TRUE(right) << "after " << received << " bytes";
}

TEST(VsockLimits, AGibibyteFromTheGuestArrivesAsItWas) {
    Guest guest;
    auto [ports, host] = guest.guest_calls(5000, 1);
    Sequence sequence;
    Sequence expected;
    Progress progress;
    std::vector<std::byte> heard(256U << 10);
    constexpr std::uint32_t piece = 4000;
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    std::uint32_t forwarded = 0;
    bool right = true;
    const auto hear_credit = [&] {
        for (const Packet& packet : guest.packets())
            forwarded = packet.header.forwarded;
    };
    while (right && received < volume) {
        while (static_cast<std::uint32_t>(sent) - forwarded + piece <= Connection::buffer_size) {
            const auto bytes = sequence.next(piece);
            guest.send(Guest::packet(ports, Op::rw), bytes);
            sent += bytes.size();
            hear_credit();
        }
        const ssize_t got = ::recv(host.fd(), heard.data(), heard.size(), MSG_DONTWAIT);
        const auto bytes = std::span(heard).first(got > 0 ? static_cast<std::size_t>(got) : 0);
        right &= expected.continues_with(bytes);
        received += bytes.size();
        guest.settle();
        hear_credit();
        right &= progress.made(!bytes.empty());
    }
    EXPECT_TRUE(right) << "after " << received << " bytes";
}

} // namespace
} // namespace aerate::vsock
