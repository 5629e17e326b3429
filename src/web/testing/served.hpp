// A fixture of tests: the page's server on a loop of its own, and raw connections to it.
#pragma once

#include "base/testing/temporary_directory.hpp"
#include "event/event_loop.hpp"
#include "migration/link/endpoint.hpp"
#include "web/server.hpp"
#include "web/testing/fake_source.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <sys/socket.h>

#include <array>
#include <optional>
#include <thread>

namespace aerate::web::testing {

/// Sends what no browser would.
class RawPeer {
public:
    explicit RawPeer(const std::string& address, int receive_buffer = 0) {
        auto fd = migration::connect_to(*migration::Endpoint::parse("tcp:" + address), std::chrono::seconds(5));
        EXPECT_TRUE(fd);
        if (fd)
            fd_ = *std::move(fd);
        const timeval limit{5, 0};
        ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        if (receive_buffer > 0)
            ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
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
    [[nodiscard]] int fd() const { return fd_.get(); }

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

class ServedTest : public ::testing::Test {
protected:
    Result<void> start(Options options = {}) {
        if (options.listen == Options{}.listen)
            options.listen = "127.0.0.1:0";
        auto server = Server::start(loop_, options, source_);
        if (!server)
            return std::unexpected(server.error());
        server_.emplace(*std::move(server));
        thread_ = std::jthread([this] { loop_.run(); });
        return {};
    }
    void stop() {
        if (!thread_.joinable())
            return;
        loop_.call([this] { server_.reset(); });
        loop_.stop();
        thread_.join();
    }
    ~ServedTest() override { stop(); }

    [[nodiscard]] std::string address() const { return server_->where(); }
    [[nodiscard]] std::string token() const {
        const std::string url = server_->url();
        return url.substr(url.find("#token=") + 7);
    }
    [[nodiscard]] std::string bearer() const { return "Authorization: Bearer " + token() + "\r\n"; }
    /// Returns a whole request with the server's own Host.
    [[nodiscard]] std::string request(std::string_view method, std::string_view target, std::string_view headers = "",
                                      std::string_view body = "") const {
        return fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{}\r\n{}", method,
                           target, address(), body.size(), headers, body);
    }
    /// Returns the whole answer.
    std::string ask(std::string_view method, std::string_view target, std::string_view headers = "",
                    std::string_view body = "") {
        return send(request(method, target, headers, body));
    }
    std::string send(std::string_view text) {
        RawPeer peer(address());
        peer.send(text);
        return peer.read_all();
    }
    /// Ticks when what was sent before is known to the server to have gone: what is still on its way is followed by
    /// nothing. A peer that has read it may be sooner than the loop, by the steps that one write takes there.
    void tick() {
        constexpr int steps = 8;
        for (int i = 0; i < steps; ++i)
            loop_.call([] {});
        loop_.call([this] { source_.tick(); });
    }

    TemporaryDirectory directory_;
    EventLoop loop_;
    FakeSource source_;
    std::optional<Server> server_;
    std::jthread thread_;
};

} // namespace aerate::web::testing
