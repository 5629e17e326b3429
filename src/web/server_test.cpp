#include "web/testing/served.hpp"

#include <gmock/gmock.h>

#include <sys/stat.h>

#include <fstream>
#include <thread>

namespace aerate::web {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::RawPeer;
using testing::ServedTest;
using ::testing::StartsWith;

TEST_F(ServedTest, ServesThePageToEverybodyAndNothingElse) {
    ASSERT_TRUE(start());
    EXPECT_THAT(ask("GET", "/"),
                AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("<!doctype html>"), HasSubstr("default-src 'self'"),
                      HasSubstr("frame-ancestors 'none'"), HasSubstr("nosniff"), HasSubstr("no-store")));
    EXPECT_THAT(ask("GET", "/page.js"), HasSubstr("text/javascript"));
    EXPECT_THAT(ask("GET", "/page.css"), HasSubstr("text/css"));
    for (const char* path : {"/host/status", "/host/history", "/host/events", "/host/vms/db/map", "/metrics"})
        EXPECT_THAT(ask("GET", path),
                    AllOf(StartsWith("HTTP/1.1 401"), HasSubstr("WWW-Authenticate: Bearer"), Not(HasSubstr("web1"))))
            << path;
    EXPECT_THAT(ask("POST", "/host/vms/db/pause"), StartsWith("HTTP/1.1 401"));
    EXPECT_THAT(source_.acts_, IsEmpty());
}

TEST_F(ServedTest, AnswersWhoHasTheToken) {
    ASSERT_TRUE(start());
    EXPECT_THAT(ask("GET", "/host/status", bearer()), AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("\"web1\"")));
    EXPECT_THAT(ask("GET", "/host/history", bearer()), HasSubstr(R"({"vms":[]})"));
    EXPECT_THAT(ask("GET", "/host/vms/db/map", bearer()), HasSubstr(R"({"cell_bytes":4194304,"cells":"rrb."})"));
    EXPECT_THAT(ask("GET", "/host/vms/db/decisions", bearer()), HasSubstr(R"({"decisions":[]})"));
    EXPECT_THAT(ask("GET", "/host/vms/nobody/decisions", bearer()), StartsWith("HTTP/1.1 404"));
    EXPECT_THAT(ask("GET", "/metrics", bearer()), HasSubstr("aerate_vm_size_bytes{vm=\"web1\"} 4294967296"));
    const std::string nearly = token().substr(1) + "0";
    EXPECT_THAT(ask("GET", "/host/status", "Authorization: Bearer " + nearly + "\r\n"), StartsWith("HTTP/1.1 401"));
    EXPECT_THAT(ask("GET", "/host/status", "Authorization: Bearer \r\n"), StartsWith("HTTP/1.1 401"));
}

TEST_F(ServedTest, CarriesOutActionsAndSaysWhatCameOfThem) {
    ASSERT_TRUE(start());
    EXPECT_THAT(ask("POST", "/host/vms/db/sweep", bearer()), HasSubstr(R"({"words":"done with db"})"));
    EXPECT_THAT(ask("PUT", "/host/vms/db/balloon", bearer(), R"({"target_bytes": 1048576})"),
                StartsWith("HTTP/1.1 200"));
    ASSERT_EQ(source_.acts_.size(), 2U);
    EXPECT_EQ(source_.acts_[1].second, Action(SetBalloon{ByteCount{1 << 20}}));
    EXPECT_THAT(ask("PUT", "/host/vms/db/balloon", bearer(), R"({"target_bytes": -1})"), StartsWith("HTTP/1.1 400"));
    EXPECT_THAT(ask("GET", "/host/vms/db/sweep", bearer()),
                AllOf(StartsWith("HTTP/1.1 405"), HasSubstr("Allow: POST")));
    EXPECT_EQ(source_.acts_.size(), 2U);
}

TEST_F(ServedTest, SaysSoWhenASourceNeverAnswers) {
    source_.drop_ = true;
    ASSERT_TRUE(start());
    EXPECT_THAT(ask("POST", "/host/vms/db/sweep", bearer()), StartsWith("HTTP/1.1 502"));
}

TEST_F(ServedTest, AnswersThatComeWhenNobodyListensAnyMoreAreDropped) {
    source_.keep_ = true;
    ASSERT_TRUE(start());
    auto peer = std::make_optional<RawPeer>(address());
    peer->send(request("POST", "/host/vms/db/sweep", bearer()));
    while (loop_.call([&] { return source_.kept_.empty(); }))
        std::this_thread::yield();
    peer.reset();
    loop_.call([&] {
        server_.reset();
        source_.kept_.front()("late");
    });
}

TEST_F(ServedTest, StrangersNamesAndOtherSitesAreRefused) {
    ASSERT_TRUE(start());
    const auto with_host = [&](std::string_view host, std::string_view headers) {
        return send(fmt::format("POST /host/vms/db/pause HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n"
                                "Content-Length: 0\r\n{}{}\r\n",
                                host, bearer(), headers));
    };
    EXPECT_THAT(with_host("rebound.example:9470", ""), StartsWith("HTTP/1.1 421"));
    EXPECT_THAT(with_host("", ""), StartsWith("HTTP/1.1 421"));
    EXPECT_THAT(with_host("localhost:80@evil", ""), StartsWith("HTTP/1.1 421"));
    EXPECT_THAT(with_host(address(), "Origin: http://evil.example\r\n"), StartsWith("HTTP/1.1 403"));
    EXPECT_THAT(with_host(address(), "Origin: null\r\n"), StartsWith("HTTP/1.1 403"));
    EXPECT_THAT(with_host(address(), "Origin: https://" + address() + "\r\n"), StartsWith("HTTP/1.1 403"));
    EXPECT_THAT(source_.acts_, IsEmpty());
    EXPECT_THAT(with_host(address(), "Origin: http://" + address() + "\r\n"), StartsWith("HTTP/1.1 200"));
    EXPECT_THAT(with_host("localhost:8080", "Origin: http://localhost:8080\r\n"), StartsWith("HTTP/1.1 200"))
        << "as through ssh -L";
}

TEST_F(ServedTest, MetricsCanBeOpened) {
    ASSERT_TRUE(start({.metrics_open = true}));
    EXPECT_THAT(ask("GET", "/metrics"), StartsWith("HTTP/1.1 200"));
    EXPECT_THAT(ask("GET", "/host/status"), StartsWith("HTTP/1.1 401"));
}

TEST_F(ServedTest, WatchersAreSentTheStatusAndOneEventASecond) {
    ASSERT_TRUE(start({.limits = {.event_interval = 0ms}}));
    RawPeer peer(address());
    peer.send(request("GET", "/host/events", bearer()));
    EXPECT_THAT(peer.read_until("\n\n"), AllOf(HasSubstr("text/event-stream"), HasSubstr("event: status\ndata: {")));
    tick();
    EXPECT_THAT(peer.read_until("\n\n"), HasSubstr("\"now_ms\":1700000001000"));
    stop();
    EXPECT_THAT(peer.read_all(), IsEmpty());
}

TEST_F(ServedTest, FastTicksAreNotAllEvents) {
    ASSERT_TRUE(start({.limits = {.event_interval = 1h}}));
    RawPeer peer(address());
    peer.send(request("GET", "/host/events", bearer()));
    peer.read_until("\n\n");
    for (int i = 0; i < 5; ++i)
        tick();
    stop();
    const std::string rest = peer.read_all();
    EXPECT_EQ(std::ranges::count(rest, '\n'), 3) << rest; // one event
}

TEST_F(ServedTest, MoreWatchersThanTheLimitAreToldSo) {
    ASSERT_TRUE(start({.limits = {.watchers = 2}}));
    std::vector<RawPeer> watchers;
    for (int i = 0; i < 2; ++i) {
        watchers.emplace_back(address()).send(request("GET", "/host/events", bearer()));
        EXPECT_THAT(watchers.back().read_until("\n\n"), HasSubstr("event: status"));
    }
    EXPECT_THAT(ask("GET", "/host/events", bearer()), AllOf(StartsWith("HTTP/1.1 503"), HasSubstr("too many pages")));
    watchers.pop_back(); // its place is free as soon as the server has seen it
    std::string again;
    for (int i = 0; i < 500 && !again.contains("event: status"); ++i) {
        RawPeer next(address());
        next.send(request("GET", "/host/events", bearer()));
        again = next.read_until("\n\n");
        if (!again.contains("event: status"))
            again += next.read_until("}");
    }
    EXPECT_THAT(again, HasSubstr("event: status"));
}

TEST_F(ServedTest, HoldsNothingForSlowReadersAndDropsThem) {
    source_.status_.vms.resize(8'000, source_.status_.vms.front()); // megabytes an event
    ASSERT_TRUE(start({.limits = {.write_deadline = 200ms, .event_interval = 0ms}}));
    RawPeer slow(address(), 4096);
    slow.send(request("GET", "/host/events", bearer()));
    for (int i = 0; i < 20; ++i)
        tick();
    std::this_thread::sleep_for(400ms); // the deadline is what is tested
    const std::string all = slow.read_all();
    EXPECT_LT(all.size(), 60U << 20);
    EXPECT_FALSE(all.ends_with("\n\n")) << "it was cut off";
}

TEST_F(ServedTest, MalformedAndOversizedRequestsAreRefused) {
    ASSERT_TRUE(start());
    EXPECT_THAT(send("\x16\x03\x01\r\n\r\n"), StartsWith("HTTP/1.1 400")); // TLS
    EXPECT_THAT(send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), StartsWith("HTTP/1.1 400"));
    EXPECT_THAT(send("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), StartsWith("HTTP/1.1 400"));
    EXPECT_THAT(send("GET / HTTP/1.1\r\nX: " + std::string(9000, 'x') + "\r\n\r\n"), StartsWith("HTTP/1.1 431"));
    std::string many = "GET / HTTP/1.1\r\n";
    for (int i = 0; i < 70; ++i)
        many += fmt::format("X{}: y\r\n", i);
    EXPECT_THAT(send(many + "\r\n"), StartsWith("HTTP/1.1 431"));
    EXPECT_THAT(send("PUT /host/vms/db/balloon HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n\r\n"),
                StartsWith("HTTP/1.1 413"));
    EXPECT_THAT(ask("GET", "/"), StartsWith("HTTP/1.1 200"));
}

TEST_F(ServedTest, RequestsThatTrickleInEnd) {
    ASSERT_TRUE(start({.limits = {.header_deadline = 50ms}}));
    EXPECT_THAT(send("GET / HT"), AnyOf(StartsWith("HTTP/1.1 408"), IsEmpty()));
}

TEST_F(ServedTest, StrangersCannotKeepTheOperatorOut) {
    ASSERT_TRUE(start({.limits = {.connections = 4}}));
    RawPeer watcher(address());
    watcher.send(request("GET", "/host/events", bearer()));
    watcher.read_until("\n\n");
    std::vector<RawPeer> strangers;
    for (int i = 0; i < 20; ++i)
        strangers.emplace_back(address());
    EXPECT_THAT(ask("GET", "/host/status", bearer()), StartsWith("HTTP/1.1 200"));
    tick();
    stop();
    EXPECT_THAT(watcher.read_all(), HasSubstr("event: status")) << "it was not the one that went";
}

TEST_F(ServedTest, ListensBeyondLoopbackWithACertificateOnly) {
    const auto refused = start({.listen = "0.0.0.0:0"});
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("certificate"));
    EXPECT_THAT(start({.listen = "localhost:1"}).error().message, HasSubstr("numeric"));
    EXPECT_THAT(start({.certificate_path = "/c"}).error().message, HasSubstr("both"));
}

TEST_F(ServedTest, TakesATokenThatNobodyElseCanRead) {
    const std::string path = directory_.path() / "token";
    const std::string secret(40, 'k');
    std::ofstream(path) << secret << "\n";
    ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
    EXPECT_FALSE(start({.token_path = path}));
    ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
    ASSERT_TRUE(start({.token_path = path}));
    EXPECT_THAT(server_->url(), Not(HasSubstr("#")));
    EXPECT_THAT(ask("GET", "/host/status", "Authorization: Bearer " + secret + "\r\n"), StartsWith("HTTP/1.1 200"));
}

} // namespace
} // namespace aerate::web
