#include "control/testing/server_test.hpp"

#include "base/peer.hpp"
#include "base/testing/temporary_directory.hpp"
#include "base/unix_socket.hpp"
#include "control/client.hpp"
#include "control/listening_socket.hpp"
#include "control/runtime_directory.hpp"
#include "control/server.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <array>
#include <fstream>
#include <future>
#include <thread>

namespace aerate::control {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using testing::ServerTest;
using ::testing::StartsWith;
namespace fs = std::filesystem;

/// A raw connection, to send what no client would.
class RawPeer {
public:
    explicit RawPeer(const fs::path& path) {
        auto fd = connect_unix(path);
        EXPECT_TRUE(fd);
        if (fd)
            fd_ = *std::move(fd);
        const timeval limit{5, 0};
        ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        ::fcntl(fd_.get(), F_SETFL, 0);
    }
    void send(std::string_view text) { (void)!::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL); }
    /// Until the server closes.
    std::string read_all() {
        std::string text;
        while (read_some(text)) {
        }
        return text;
    }
    std::string read_until(std::string_view end) {
        std::string text;
        while (text.find(end) == std::string::npos && read_some(text)) {
        }
        return text;
    }

private:
    bool read_some(std::string& text) {
        std::array<char, 4096> chunk;
        const ssize_t got = ::recv(fd_.get(), chunk.data(), chunk.size(), 0);
        if (got > 0)
            text.append(chunk.data(), static_cast<std::size_t>(got));
        return got > 0;
    }
    FileDescriptor fd_;
};

TEST_F(ServerTest, AnswersTheClient) {
    ASSERT_TRUE(start());
    const Client client(socket());
    const auto instance = client.call("GET", "/");
    ASSERT_TRUE(instance) << instance.error().message;
    EXPECT_THAT(*instance, HasSubstr(R"("id":"web1")"));
    EXPECT_EQ(*client.call("PATCH", "/balloon/hinting/stop"), "");
    const auto refused = client.call("PATCH", "/balloon", R"({"amount_mib": 3})");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message, "3145728 bytes");
    EXPECT_EQ(client.exchange("GET", "/nowhere")->status, 400U) << "as Firecracker";
    EXPECT_EQ(client.exchange("GET", "/aerate/nowhere")->status, 404U);
}

TEST_F(ServerTest, AnswersMayComeLaterAndFromAnyThread) {
    ASSERT_TRUE(start());
    std::jthread answerer([this] {
        while (loop_.call([this] { return kept_.empty(); }))
            std::this_thread::yield();
        auto answer = loop_.call([this] { return std::exchange(kept_, {}); });
        answer.front()(VmStatus{.name = "web1"});
        answer.front()(Done{});
    });
    const auto status = Client(socket()).status();
    ASSERT_TRUE(status) << status.error().message;
    EXPECT_EQ(status->name, "web1");
}

TEST_F(ServerTest, H8_ACallerThatDoesNotWaitHarmsNobody) {
    ASSERT_TRUE(start());
    {
        RawPeer peer(socket());
        peer.send("GET /aerate/status HTTP/1.1\r\nHost: x\r\n\r\n");
        while (loop_.call([this] { return kept_.empty(); }))
            std::this_thread::yield();
    }
    loop_.call([this] { kept_.front()(Done{}); });
    EXPECT_TRUE(Client(socket()).call("GET", "/"));
}

TEST_F(ServerTest, AnAnswerNeverGivenClosesTheConnection) {
    ASSERT_TRUE(start());
    RawPeer peer(socket());
    peer.send("GET /aerate/status HTTP/1.1\r\nHost: x\r\n\r\n");
    while (loop_.call([this] { return kept_.empty(); }))
        std::this_thread::yield();
    loop_.call([this] { kept_.clear(); });
    EXPECT_EQ(peer.read_all(), "");
}

TEST_F(ServerTest, AConnectionThatIsClosedWithoutAnAnswerIsNoSuccess) {
    ASSERT_TRUE(start());
    auto answer = std::async(std::launch::async, [this] { return Client(socket()).exchange("GET", "/aerate/status"); });
    while (handled_ == 0)
        std::this_thread::yield();
    loop_.call([this] { kept_.clear(); });
    const auto got = answer.get();
    ASSERT_FALSE(got) << got->status;
    EXPECT_THAT(got.error().message, HasSubstr("without an answer"));
}

TEST_F(ServerTest, AClientsDeadlineHolds) {
    ASSERT_TRUE(start());
    const auto status = Client(socket(), 50ms).status();
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().message, "the VM did not answer in time");
}

TEST_F(ServerTest, C3_AClientWaitsForAnOperationAsLongAsTheVmAnswersOthers) {
    ASSERT_TRUE(start());
    auto paused = std::async(std::launch::async,
                             [this] { return Client(socket(), 20ms).call("PATCH", "/vm", R"({"state": "Paused"})"); });
    while (handled_ < 4) // the request, and three times its client's patience
        std::this_thread::yield();
    EXPECT_EQ(paused.wait_for(0ms), std::future_status::timeout);
    loop_.call([this] { kept_.front()(Done{}); });
    const auto answer = paused.get();
    EXPECT_TRUE(answer) << answer.error().message;
}

TEST_F(ServerTest, C3_AClientThatGivesUpSaysThatTheVmMayStillDoIt) {
    ASSERT_TRUE(start());
    std::promise<void> hung;
    loop_.post([&hung] { hung.get_future().wait(); });
    const auto paused = Client(socket(), 20ms).call("PATCH", "/vm", R"({"state": "Paused"})");
    hung.set_value();
    ASSERT_FALSE(paused);
    EXPECT_THAT(paused.error().message, HasSubstr("may still do"));
}

TEST_F(ServerTest, H3_PipelinedRequestsAreAnsweredInOrder) {
    ASSERT_TRUE(start());
    RawPeer peer(socket());
    peer.send("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
              "PATCH /balloon/hinting/stop HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    const std::string text = peer.read_all();
    const auto first = text.find("HTTP/1.1 200");
    const auto second = text.find("HTTP/1.1 400");
    const auto third = text.find("HTTP/1.1 204");
    EXPECT_EQ(first, 0U);
    EXPECT_LT(first, second);
    EXPECT_LT(second, third);
    EXPECT_NE(third, std::string::npos);
}

TEST_F(ServerTest, H3_BadRequestsAreAnsweredAndDropped) {
    ASSERT_TRUE(start());
    std::string many_fields = "GET / HTTP/1.1\r\n";
    for (int i = 0; i < 65; ++i)
        many_fields += fmt::format("X-{}: y\r\n", i);
    const std::pair<std::string, std::string_view> cases[] = {
        {"GET / HTTP/1.1\r\nX: " + std::string(9000, 'a') + "\r\n\r\n", "HTTP/1.1 431"},
        {many_fields + "\r\n", "HTTP/1.1 431"},
        {"PUT /balloon HTTP/1.1\r\nContent-Length: 51201\r\n\r\n", "HTTP/1.1 413"},
        {"PUT /balloon HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n", "HTTP/1.1 400"},
        {"PUT /balloon HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400"},
        {"PUT /balloon HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", "HTTP/1.1 400"},
        {"PUT /balloon HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 400"},
        {"PUT /balloon HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", "HTTP/1.1 400"},
        {"PUT /balloon HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 400"},
        {"GET / HTTP/1.1\r\nX\rY: z\r\n\r\n", "HTTP/1.1 400"},
        {std::string("GET / HTTP/1.1\r\nX\0Y: z\r\n\r\n", 26), "HTTP/1.1 400"},
        {std::string("GET / HTTP/1.1\r\nXY: \0\r\n\r\n", 25), "HTTP/1.1 400"},
        {"GET /\x01 HTTP/1.1\r\n\r\n", "HTTP/1.1 400"},
        {"GET / HTTP/9.9\r\n\r\n", "HTTP/1.1 400"},
        {"\x16\x03\x01\x02\r\n\r\n", "HTTP/1.1 400"},
    };
    for (const auto& [request, answer] : cases) {
        RawPeer peer(socket());
        peer.send(request);
        const std::string text = peer.read_all();
        EXPECT_THAT(text, StartsWith(std::string(answer))) << request.substr(0, 80);
        EXPECT_THAT(text, HasSubstr("Connection: close"));
        EXPECT_THAT(text, HasSubstr("fault_message"));
    }
    EXPECT_EQ(handled_, 0);
    EXPECT_TRUE(Client(socket()).call("GET", "/"));
}

TEST_F(ServerTest, H3_ABodyAsLongAsAllowedIsRead) {
    ASSERT_TRUE(start());
    const auto answer = Client(socket()).exchange("PATCH", "/balloon", std::string(51200, ' '));
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->status, 400U);
    EXPECT_THAT(answer->body, HasSubstr("JSON"));
    EXPECT_EQ(Client(socket()).exchange("PATCH", "/balloon", std::string(51201, ' '))->status, 413U);
}

TEST_F(ServerTest, ContinueIsSaidToThoseWhoExpectIt) {
    ASSERT_TRUE(start());
    RawPeer peer(socket());
    peer.send("PATCH /balloon HTTP/1.1\r\nContent-Length: 17\r\nExpect: 100-continue\r\n\r\n");
    EXPECT_EQ(peer.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    peer.send(R"({"amount_mib": 3})");
    EXPECT_THAT(peer.read_until("bytes"), HasSubstr("3145728 bytes"));
}

TEST_F(ServerTest, H4_SlowCallersAreDropped) {
    ASSERT_TRUE(start({.header_deadline = 50ms, .body_deadline = 50ms, .idle_deadline = 50ms}));
    RawPeer silent(socket());
    EXPECT_THAT(silent.read_all(), StartsWith("HTTP/1.1 408"));
    RawPeer half_header(socket());
    half_header.send("GET / HTTP/1.1\r\nHos");
    EXPECT_THAT(half_header.read_all(), StartsWith("HTTP/1.1 408"));
    RawPeer half_body(socket());
    half_body.send("PUT /balloon HTTP/1.1\r\nContent-Length: 10\r\n\r\n{");
    EXPECT_THAT(half_body.read_all(), StartsWith("HTTP/1.1 408"));
    RawPeer idle(socket());
    idle.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_THAT(idle.read_all(), StartsWith("HTTP/1.1 200"));
    EXPECT_EQ(handled_, 1);
}

TEST_F(ServerTest, H4_ManyConnectionsAreTurnedAwayAndThenServedAgain) {
    ASSERT_TRUE(start({.connections = 4}));
    std::vector<std::unique_ptr<RawPeer>> peers;
    for (int i = 0; i < 4; ++i) {
        peers.push_back(std::make_unique<RawPeer>(socket()));
        peers.back()->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        EXPECT_THAT(peers.back()->read_until("}"), StartsWith("HTTP/1.1 200"));
    }
    EXPECT_THAT(RawPeer(socket()).read_all(), StartsWith("HTTP/1.1 503"));
    peers.clear();
    auto answer = Client(socket()).exchange("GET", "/");
    for (int tries = 0; tries < 1000 && answer && answer->status == 503; ++tries)
        answer = Client(socket()).exchange("GET", "/");
    EXPECT_EQ(answer->status, 200U);
}

TEST_F(ServerTest, C27_TheModeOfTheSocketIsNotTheUmasks) {
    const mode_t before = ::umask(0);
    const auto started = start();
    EXPECT_EQ(::umask(before), 0U) << "other threads create files meanwhile";
    ASSERT_TRUE(started);
    struct stat status{};
    ASSERT_EQ(::lstat(socket().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0600U);
}

TEST_F(ServerTest, H1_OtherUsersAreRefused) {
    EXPECT_TRUE(is_trusted_user(1000, 1000));
    EXPECT_TRUE(is_trusted_user(0, 1000));
    EXPECT_FALSE(is_trusted_user(1001, 1000));
    EXPECT_FALSE(is_trusted_user(1000, 0));
    if (::geteuid() != 0)
        GTEST_SKIP() << "only root can pose as another user";
    ASSERT_TRUE(start());
    // Open what keeps other users out already, to see the check behind it.
    ASSERT_EQ(::chmod(parent_.path().c_str(), 0755), 0);
    ASSERT_EQ(::chmod(directory().c_str(), 0755), 0);
    ASSERT_EQ(::chmod(socket().c_str(), 0666), 0);
    std::string text;
    std::jthread([&] {
        // The system call changes this thread alone.
        ASSERT_EQ(::syscall(SYS_setresuid, 65534, 65534, 65534), 0);
        RawPeer peer(socket());
        peer.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        text = peer.read_all();
    }).join();
    EXPECT_THAT(text, StartsWith("HTTP/1.1 403"));
    EXPECT_EQ(handled_, 0);
}

TEST_F(ServerTest, H2_TheSocketIsOursAlone) {
    ASSERT_TRUE(start());
    EXPECT_EQ(fs::status(directory()).permissions(), fs::perms::owner_all);
    EXPECT_EQ(fs::status(socket()).permissions(), fs::perms::owner_read | fs::perms::owner_write);
    stop();
    EXPECT_FALSE(fs::exists(socket()));
}

TEST_F(ServerTest, H2_AnUnsafeDirectoryIsRefused) {
    fs::create_directory(directory());
    fs::permissions(directory(), fs::perms::all);
    EXPECT_FALSE(start());
    fs::remove(directory());
    fs::create_directory(parent_.path() / "elsewhere");
    fs::permissions(parent_.path() / "elsewhere", fs::perms::owner_all);
    fs::create_directory_symlink(parent_.path() / "elsewhere", directory());
    EXPECT_FALSE(start());
}

TEST_F(ServerTest, H2_WhatIsNotASocketIsNotReplaced) {
    fs::create_directory(directory());
    fs::permissions(directory(), fs::perms::owner_all);
    std::ofstream(socket()) << "precious";
    EXPECT_FALSE(start());
    EXPECT_TRUE(fs::is_regular_file(socket()));
    fs::remove(socket());
    fs::create_symlink("/dev/null", socket());
    EXPECT_FALSE(start());
    EXPECT_TRUE(fs::is_symlink(socket()));
}

TEST_F(ServerTest, AStaleSocketIsReplacedALiveOneIsNot) {
    {
        auto stale = listen_for_requests(socket());
        ASSERT_TRUE(stale);
        // A killed process closes its sockets but leaves their files: so does a renamed one here.
        fs::rename(socket(), directory() / "kept");
    }
    fs::rename(directory() / "kept", socket());
    ASSERT_TRUE(fs::is_socket(socket()));
    ASSERT_TRUE(start());
    const auto second = listen_for_requests(socket());
    ASSERT_FALSE(second);
    EXPECT_THAT(second.error().message, HasSubstr("already running"));
    EXPECT_TRUE(Client(socket()).call("GET", "/"));
}

TEST_F(ServerTest, ALongSocketPathIsRefusedWithAFix) {
    const auto result = listen_for_requests(parent_.path() / (std::string(120, 'a') + ".sock"));
    ASSERT_FALSE(result);
    EXPECT_THAT(result.error().message, HasSubstr("AERATE_RUNTIME_DIR"));
}

TEST_F(ServerTest, ItMayEndWhileRequestsAreOpen) {
    ASSERT_TRUE(start());
    RawPeer waiting(socket());
    waiting.send("GET /aerate/status HTTP/1.1\r\nHost: x\r\n\r\n");
    RawPeer half(socket());
    half.send("GET / HT");
    while (loop_.call([this] { return kept_.empty(); }))
        std::this_thread::yield();
    loop_.call([this] { server_.reset(); });
    EXPECT_EQ(half.read_all(), "");
    loop_.call([this] { kept_.front()(Done{}); });
    EXPECT_EQ(waiting.read_all(), "");
    stop();
}

} // namespace
} // namespace aerate::control
