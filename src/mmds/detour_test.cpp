// The whole of it, with a Linux kernel as the guest: a tap in a network namespace of the test's own is the guest's
// card, curl its program, and the card's back end hands frames to and fro.
#include "mmds/detour.hpp"
#include "mmds/endpoint.hpp"
#include "mmds/server.hpp"
#include "net/tap.hpp"
#include "net/testing/fake_back_end.hpp"

#include <arpa/inet.h>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>

#include <sys/socket.h>

#include <cstdio>
#include <cstring>
#include <future>

namespace aerate::mmds {
namespace {

using net::Outcome;
using net::testing::Bytes;
using net::testing::FakeBackEnd;

constexpr Ipv4Address service{169, 254, 169, 254};
constexpr std::string_view url = "http://169.254.169.254";

sockaddr_in place() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(80);
    std::memcpy(&address.sin_addr, service.data(), service.size());
    return address;
}

std::string output_of(const std::string& command) {
    std::string text;
    std::FILE* const pipe = ::popen((command + " 2>&1").c_str(), "re");
    std::array<char, 4096> chunk;
    while (const std::size_t got = std::fread(chunk.data(), 1, chunk.size(), pipe))
        text.append(chunk.data(), got);
    return ::pclose(pipe) == 0 ? text : "failed: " + text;
}

/// Each of these tests runs in a process of its own: the namespace is for good.
class DetourTest : public ::testing::Test {
protected:
    void SetUp() override {
        if (::unshare(CLONE_NEWNET) < 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
            GTEST_SKIP() << "this host refuses a network namespace: " << std::strerror(errno);
        auto tap = net::Tap::open("guest");
        auto endpoint = open_endpoint(service);
        for (const int code : {tap ? 0 : tap.error().system_error, endpoint ? 0 : endpoint.error().system_error})
            if (code == ENOENT || code == ENODEV || code == EPERM || code == EACCES)
                GTEST_SKIP() << "this host has no tap for a test: " << describe_errno(code);
        ASSERT_TRUE(tap) << tap.error().message;
        ASSERT_TRUE(endpoint) << endpoint.error().message;
        guest = *std::move(tap);
        // As a guest that has accepted all offloads: frames without checksum, and of 64 KiB.
        guest->set_guest_offloads({.checksum = true, .tso4 = true, .tso6 = true});
        detour = Detour::create(network, std::move(endpoint->tun), service, counters).value();
        listener = std::make_shared<const FileDescriptor>(std::move(endpoint->listener));
        ASSERT_TRUE(loop.prepare());
        ASSERT_EQ(output_of("ip address add 172.16.0.2/24 dev guest && ip link set guest up && "
                            "ip route add 169.254.0.0/16 dev guest"),
                  "");
        from_guest = loop.watch(guest->readable(), [this] { take_from_guest(); });
        to_guest = loop.watch(detour->readable(), [this] { give_to_guest(); });
    }
    void serve(const control::MmdsConfig& config, const Limits& limits = {}) {
        server = Server::create(loop, {listener}, store, config, counters, limits).value();
    }

    void take_from_guest() {
        const iovec piece{frame.data(), frame.size()};
        for (int i = 0; i < 64; ++i) {
            const auto got = guest->receive({&piece, 1});
            if (got.outcome != Outcome::done)
                return;
            // In two pieces, cut in the IP header.
            const std::array<iovec, 2> pieces{iovec{frame.data(), 30}, iovec{frame.data() + 30, got.bytes - 30}};
            (void)detour->send(pieces);
        }
    }
    void give_to_guest() {
        const std::array<iovec, 2> pieces{iovec{frame.data(), 17}, iovec{frame.data() + 17, frame.size() - 17}};
        for (int i = 0; i < 64; ++i) {
            const auto got = detour->receive(pieces);
            if (got.outcome == Outcome::later)
                return;
            const iovec piece{frame.data(), got.bytes};
            ASSERT_EQ(guest->send({&piece, 1}), Outcome::done);
            given_to_guest += got.outcome == Outcome::local ? 1 : 0;
        }
    }
    template <typename T>
    T run_until(std::future<T> future) {
        while (future.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
            loop.context().restart();
            (void)loop.context().run_one_for(std::chrono::milliseconds(20));
        }
        return future.get();
    }
    template <typename Condition>
    void run_until_true(Condition condition) {
        while (!condition()) {
            loop.context().restart();
            (void)loop.context().run_one_for(std::chrono::milliseconds(20));
        }
    }
    /// curl's output; "HTTP 404" where it is not 200.
    std::string curl(const std::string& arguments, std::string_view path) {
        return run_until(std::async(std::launch::async, [=] {
            return output_of(
                fmt::format("curl --silent --show-error --noproxy '*' --max-time 60 {} {}{}", arguments, url, path));
        }));
    }
    std::string status(const std::string& arguments, std::string_view path) {
        return curl("--output /dev/null --write-out '%{http_code}' " + arguments, path);
    }

    EventLoop loop;
    std::array<std::byte, net::max_frame> frame{};
    std::shared_ptr<net::Tap> guest;
    std::shared_ptr<FakeBackEnd> network = std::make_shared<FakeBackEnd>();
    std::shared_ptr<Detour> detour;
    std::shared_ptr<const FileDescriptor> listener;
    std::shared_ptr<Store> store = std::make_shared<Store>();
    std::shared_ptr<Counters> counters = std::make_shared<Counters>();
    std::unique_ptr<Server> server;
    Subscription from_guest;
    Subscription to_guest;
    unsigned given_to_guest = 0;
};

TEST_F(DetourTest, AGuestHasASessionAndReadsItsMetadata) {
    ASSERT_TRUE(store->put(R"({"latest": {"meta-data": {"id": "i-1"}}})"));
    serve({.version = control::MmdsVersion::v2, .network_interfaces = {"eth0"}});
    EXPECT_EQ(status("", "/latest/meta-data/id"), "401");
    const std::string token = curl("-X PUT -H 'X-metadata-token-ttl-seconds: 600'", "/latest/api/token");
    ASSERT_EQ(token.size(), Tokens::length) << token;
    const std::string with_token = "-H 'X-metadata-token: " + token + "'";
    EXPECT_EQ(curl(with_token, "/latest/meta-data/id"), "i-1");
    EXPECT_EQ(curl(with_token + " -H 'Accept: application/json'", "/latest"), R"({"meta-data":{"id":"i-1"}})");
    EXPECT_EQ(status(with_token, "/none"), "404");
    EXPECT_EQ(status(with_token + " -X POST -d x", "/"), "405");
    EXPECT_EQ(counters->requests_no_token, 1U);
    EXPECT_EQ(counters->connections_begun, 6U) << "one for each curl";
    EXPECT_GT(counters->frames_taken, 6U);
    EXPECT_EQ(counters->frames_sent, given_to_guest);
    EXPECT_GT(counters->bytes_sent, counters->frames_sent * 40);
    EXPECT_EQ(counters->frames_refused, 0U);
    // Connections are kept: the second request goes over the first one's.
    EXPECT_EQ(curl(with_token + fmt::format(" {}/latest", url), "/latest/meta-data/id"), "meta-data/i-1");
    EXPECT_GT(given_to_guest, 0U);
}

TEST_F(DetourTest, LargeAnswersAndLargeRequestsPass) {
    const std::string large(40'000, 'm');
    ASSERT_TRUE(store->put(R"({"large": ")" + large + R"("})"));
    serve({.network_interfaces = {"eth0"}});
    EXPECT_EQ(curl("", "/large"), large);
    EXPECT_EQ(curl("-H 'X-Long: " + std::string(6000, 'h') + "'", "/large"), large) << "in frames of more than an MTU";
    EXPECT_EQ(status("-H 'X-Long: " + std::string(30'000, 'h') + "'", "/large"), "413");
    EXPECT_EQ(curl("", "/large"), large);
}

TEST_F(DetourTest, AGuestThatHasSaidItsLastGetsAllOfTheAnswer) {
    const std::string large(40'000, 'm');
    ASSERT_TRUE(store->put(R"({"large": ")" + large + R"("})"));
    serve({.network_interfaces = {"eth0"}});
    const FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const std::string got = run_until(std::async(std::launch::async, [&] {
        const sockaddr_in address = place();
        const std::string_view request = "GET /large HTTP/1.1\r\n\r\n";
        std::string answer;
        if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
            ::send(socket.get(), request.data(), request.size(), 0) < 0 || ::shutdown(socket.get(), SHUT_WR) != 0)
            return answer;
        std::array<char, 4096> chunk;
        for (ssize_t count = 1; count > 0;) {
            count = ::recv(socket.get(), chunk.data(), chunk.size(), 0);
            answer +=
                count < 0 ? std::strerror(errno) : std::string_view(chunk.data(), static_cast<std::size_t>(count));
        }
        return answer;
    }));
    EXPECT_TRUE(got.ends_with("\r\n\r\n" + large)) << got.size();
}

TEST_F(DetourTest, AllElseIsTheNetworks) {
    serve({.network_interfaces = {"eth0"}});
    // Neighbours that nobody has: the guest asks the network for them.
    (void)run_until(
        std::async(std::launch::async, [] { return output_of("curl --silent --max-time 1 http://172.16.0.77/"); }));
    const auto asks_for = [](const Bytes& sent, unsigned last) {
        return sent.size() >= 54 && sent[24] == std::byte{8} && sent[25] == std::byte{6} && sent[53] == std::byte(last);
    };
    EXPECT_TRUE(std::ranges::any_of(network->sent, [&](const Bytes& sent) { return asks_for(sent, 77); }));
    EXPECT_EQ(given_to_guest, 0U);
    network->give(net::testing::make_frame(100));
    const iovec piece{frame.data(), frame.size()};
    const auto got = detour->receive({&piece, 1});
    EXPECT_EQ(got.outcome, Outcome::done);
    EXPECT_EQ(got.bytes, net::header::size + 100);
    EXPECT_EQ(curl("--output /dev/null --write-out '%{http_code}'", "/"), "404");
    EXPECT_FALSE(std::ranges::any_of(network->sent, [&](const Bytes& sent) { return asks_for(sent, 254); }));
}

TEST_F(DetourTest, N23_ABusyNetworkDoesNotKeepTheServiceWaiting) {
    serve({.network_interfaces = {"eth0"}});
    for (int i = 0; i < 1000; ++i)
        network->give(net::testing::make_frame(100));
    EXPECT_EQ(status("", "/"), "404");
}

/// A frame of the guest's that no kernel would send.
Bytes hostile_segment(unsigned flags, unsigned source, unsigned port, std::size_t size = 40) {
    Bytes raw(net::header::size + net::ethernet_header_size + std::max<std::size_t>(size, 20));
    const auto put = [&](std::size_t at, unsigned value) {
        raw[net::header::size + at] = static_cast<std::byte>(value);
    };
    put(6, 2);
    put(12, 8);
    put(14, 0x45);
    put(16, static_cast<unsigned>(size >> 8));
    put(17, static_cast<unsigned>(size & 0xff));
    put(22, 64);
    put(23, 6);
    for (unsigned i = 0; i < 4; ++i)
        put(26 + i, source >> (24 - 8 * i));
    for (unsigned i = 0; i < 4; ++i)
        put(30 + i, service[i]);
    if (size >= 40) {
        put(34, port >> 8);
        put(35, port);
        put(37, 80);
        put(46, 0x50);
        put(47, flags);
    }
    // The IP header's own checksum; TCP's is left to be filled in, as by a guest with that offload.
    unsigned sum = 0;
    for (std::size_t i = 14; i < 34; i += 2)
        sum += std::to_integer<unsigned>(raw[net::header::size + i]) << 8 |
               std::to_integer<unsigned>(raw[net::header::size + i + 1]);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = ~((sum & 0xffff) + (sum >> 16));
    put(24, sum >> 8);
    put(25, sum);
    raw[0] = std::byte{1};
    raw[6] = std::byte{34};
    raw[8] = std::byte{16};
    return raw;
}

TEST_F(DetourTest, N24_FloodsOfSynsFromEverywhereLeaveTheServiceServing) {
    serve({.network_interfaces = {"eth0"}}, {.connections = 4});
    for (unsigned i = 0; i < 5000; ++i) {
        const Bytes syn = hostile_segment(2, i % 2 == 0 ? 0xac100002 : 0x01000000 + i * 65537, 1024 + i);
        const iovec piece{const_cast<std::byte*>(syn.data()), syn.size()};
        EXPECT_EQ(detour->send({&piece, 1}), Outcome::local);
    }
    EXPECT_EQ(status("", "/"), "404");
    EXPECT_LE(server->connections(), 4U);
    EXPECT_TRUE(network->sent.empty() || std::ranges::none_of(network->sent, [](const Bytes& sent) {
                    return sent[24] == std::byte{8} && sent[25] == std::byte{0};
                }));
}

TEST_F(DetourTest, N25_SegmentsThatMakeNoSenseAreTheKernelsToDrop) {
    serve({.network_interfaces = {"eth0"}});
    for (unsigned flags = 0; flags < 256; ++flags)
        for (const std::size_t size : {20U, 33U, 40U, 60U, 1500U, 65535U}) {
            Bytes raw = hostile_segment(flags, 0xac100002, 2000 + flags, size);
            if (flags % 3 == 0)
                raw[1] = static_cast<std::byte>(flags); // a kind of segmentation that there is not
            if (flags % 5 == 0)
                raw.resize(std::max<std::size_t>(raw.size() / 2, 46)); // less than its header says
            if (flags % 7 == 0)
                raw[6] = std::byte{255};
            const iovec piece{raw.data(), raw.size()};
            EXPECT_EQ(detour->send({&piece, 1}), Outcome::local);
        }
    EXPECT_EQ(status("", "/"), "404");
}

TEST_F(DetourTest, N26_SilentAndManyConnectionsMakeRoomForOthers) {
    serve({.network_interfaces = {"eth0"}}, {.connections = 8, .silence = std::chrono::seconds(3600)});
    std::vector<FileDescriptor> silent;
    const sockaddr_in address = place();
    for (int i = 0; i < 20; ++i) {
        const FileDescriptor& one = silent.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        ASSERT_EQ(run_until(std::async(std::launch::async,
                                       [&] {
                                           const int connected = ::connect(
                                               one.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
                                           return connected == 0 && ::send(one.get(), "G", 1, 0) == 1 ? 0 : errno;
                                       })),
                  0);
        const auto expected = std::min<std::size_t>(static_cast<std::size_t>(i) + 1, 8);
        run_until_true([&] { return server->connections() == expected; });
    }
    // The first were reset, and the last are there.
    EXPECT_EQ(run_until(std::async(std::launch::async,
                                   [&] {
                                       char byte = 0;
                                       return ::recv(silent.front().get(), &byte, 1, 0) < 0 ? errno : 0;
                                   })),
              ECONNRESET);
    EXPECT_EQ(status("", "/"), "404");
    EXPECT_LE(server->connections(), 8U);
}

TEST_F(DetourTest, N26_ASilentConnectionEnds) {
    serve({.network_interfaces = {"eth0"}}, {.silence = std::chrono::seconds(1)});
    const std::string answer = run_until(std::async(std::launch::async, [] {
        return output_of(
            "curl --silent --show-error --max-time 60 -X PUT -H 'Content-Length: 5' http://169.254.169.254/x");
    }));
    EXPECT_TRUE(answer.starts_with("failed")) << answer;
    run_until_true([&] { return server->connections() == 0; });
}

} // namespace
} // namespace aerate::mmds
