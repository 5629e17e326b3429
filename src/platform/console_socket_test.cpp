#include "base/testing/temporary_directory.hpp"
#include "base/unix_listener.hpp"
#include "base/unix_socket.hpp"
#include "platform/console_socket.hpp"

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <functional>
#include <string>

namespace aerate {
namespace {

using namespace std::chrono_literals;

/// A console's socket with a loop that this thread turns.
class ConsoleSocketTest : public ::testing::Test {
protected:
    ConsoleSocketTest() {
        auto listener = UnixListener::bind(directory_ / "console");
        EXPECT_TRUE(listener) << listener.error().message;
        listener_.emplace(*std::move(listener));
        EXPECT_TRUE(socket_->listen(listener_->fd()));
    }

    void turn_until(const std::function<bool()>& holds) {
        const auto end = std::chrono::steady_clock::now() + 60s;
        while (!holds() && std::chrono::steady_clock::now() < end)
            loop_.context().run_one_for(10ms);
        EXPECT_TRUE(holds());
    }

    FileDescriptor attach() {
        auto terminal = connect_unix(listener_->path());
        EXPECT_TRUE(terminal);
        return std::move(*terminal);
    }
    void say(std::string_view text) { EXPECT_EQ(socket_->write(std::as_bytes(std::span(text))), text.size()); }
    /// Reads what has come so far; false when the other end has closed.
    static bool read(const FileDescriptor& terminal, std::string& into) {
        std::array<char, 4096> bytes{};
        for (;;) {
            const ssize_t length = ::recv(terminal.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
            if (length <= 0)
                return length < 0 && errno == EAGAIN;
            into.append(bytes.data(), static_cast<std::size_t>(length));
        }
    }
    void expect_to_read(const FileDescriptor& terminal, const std::string& end) {
        std::string got;
        turn_until([&] { return read(terminal, got), got.ends_with(end); });
    }

    std::unique_ptr<Serial> make_guest() {
        auto serial = Serial::create(loop_, socket_);
        EXPECT_TRUE(serial);
        socket_->connect(**serial);
        // Its driver takes input: with the FIFO, and the receive interrupt on.
        for (const std::uint64_t which : {2U, 1U}) {
            const std::byte on{0x01};
            (*serial)->write(which, {&on, 1});
        }
        return std::move(*serial);
    }
    /// Reads like a guest that polls.
    static void take(Serial& serial, std::string& into) {
        std::array<std::byte, 1> byte{};
        while (serial.read(5, byte), (byte[0] & std::byte{1}) != std::byte{0}) {
            serial.read(0, byte);
            into.push_back(static_cast<char>(byte[0]));
        }
    }
    void expect_to_take(Serial& serial, const std::string& text) {
        std::string got;
        turn_until([&] { return take(serial, got), got == text; });
    }

    const TemporaryDirectory directory_;
    EventLoop loop_;
    std::optional<UnixListener> listener_;
    std::shared_ptr<ConsoleSocket> socket_ = std::make_shared<ConsoleSocket>(loop_);
};

TEST_F(ConsoleSocketTest, WhoComesLaterSeesWhatWasSaidAndWhatFollows) {
    say("boot\r\n");
    const FileDescriptor terminal = attach();
    expect_to_read(terminal, "boot\r\n");
    say("login: ");
    expect_to_read(terminal, "login: ");
}

TEST_F(ConsoleSocketTest, WhatIsTypedReachesTheGuestAndTheOneAfterItsReset) {
    auto guest = make_guest();
    const FileDescriptor terminal = attach();
    ASSERT_EQ(::send(terminal.get(), "one", 3, 0), 3);
    expect_to_take(*guest, "one");
    socket_->disconnect();
    guest.reset();
    ASSERT_EQ(::send(terminal.get(), "two", 3, 0), 3);
    say("again");
    expect_to_read(terminal, "again");
    guest = make_guest();
    expect_to_take(*guest, "two");
    socket_->disconnect();
}

TEST_F(ConsoleSocketTest, H10_TheLastToComeHasIt) {
    const FileDescriptor first = attach();
    say("hello");
    expect_to_read(first, "hello");
    const FileDescriptor second = attach();
    expect_to_read(second, "hello");
    std::string last;
    turn_until([&] { return !read(first, last); });
    EXPECT_NE(last.find("another terminal"), last.npos) << last;
    say("more");
    expect_to_read(second, "more");
}

TEST_F(ConsoleSocketTest, H10_ATerminalThatLeavesCostsTheGuestNothing) {
    auto guest = make_guest();
    FileDescriptor terminal = attach();
    say("hello");
    expect_to_read(terminal, "hello");
    terminal.close();
    turn_until([&] { return loop_.context().poll_one() == 0; });
    say("alone");
    const FileDescriptor next = attach();
    expect_to_read(next, "helloalone");
    ASSERT_EQ(::send(next.get(), "x", 1, 0), 1);
    expect_to_take(*guest, "x");
    socket_->disconnect();
}

TEST_F(ConsoleSocketTest, H10_ATerminalThatDoesNotReadHoldsUpNothingAndIsToldWhatItMissed) {
    const FileDescriptor terminal = attach();
    say("start");
    expect_to_read(terminal, "start");
    const std::string much(32 << 10, 'x');
    for (int i = 0; i < 64; ++i)
        say(much); // takes all of it at once
    say("the end");
    std::string got;
    turn_until([&] { return read(terminal, got), got.ends_with("the end"); });
    EXPECT_NE(got.find("bytes of console output were dropped here"), got.npos);
    EXPECT_LT(got.size(), 64 * much.size());
    EXPECT_GE(got.size(), ConsoleRing::capacity.value) << "the latest is there";
}

TEST_F(ConsoleSocketTest, H10_WhatTheGuestDoesNotTakeStaysWithWhoTypesIt) {
    auto guest = make_guest();
    const FileDescriptor terminal = attach();
    say("ready");
    expect_to_read(terminal, "ready");
    // A socket's buffers are bounded; a monitor that read on would never let this end.
    const std::string much(64 << 10, 'x');
    std::size_t sent = 0;
    for (;;) {
        const ssize_t now = ::send(terminal.get(), much.data(), much.size(), MSG_DONTWAIT);
        if (now > 0) {
            sent += static_cast<std::size_t>(now);
            ASSERT_LT(sent, 64U << 20) << "all of it is taken";
            continue;
        }
        ASSERT_EQ(errno, EAGAIN);
        if (loop_.context().poll_one() == 0)
            break;
    }
    say("alive");
    expect_to_read(terminal, "alive");
    std::string got;
    turn_until([&] { return take(*guest, got), got.size() == sent; });
    socket_->disconnect();
}

TEST_F(ConsoleSocketTest, NobodyIsLetInAfterHangUp) {
    const FileDescriptor terminal = attach();
    say("hello");
    expect_to_read(terminal, "hello");
    socket_->hang_up();
    std::string rest;
    EXPECT_FALSE(read(terminal, rest));
    say("to nobody");
}

} // namespace
} // namespace aerate
