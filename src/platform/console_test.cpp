#include "base/testing/temporary_file.hpp"
#include "platform/console.hpp"
#include "platform/output_sink.hpp"

#include <boost/asio/io_context.hpp>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <termios.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/wait.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>

namespace aerate {
namespace {

using namespace std::chrono_literals;

void out(Serial& serial, std::uint64_t offset, std::uint8_t value) {
    const std::byte byte{value};
    serial.write(offset, {&byte, 1});
}

/// Reads like a guest with the receive interrupt on, until it has enough or its patience is at an end.
std::string receive(Serial& serial, EventLoop& loop, std::size_t enough, std::chrono::milliseconds patience = 20s) {
    out(serial, 2, 0x01);
    out(serial, 1, 0x01);
    std::string got;
    const auto end = std::chrono::steady_clock::now() + patience;
    while (got.size() < enough && std::chrono::steady_clock::now() < end) {
        loop.context().run_one_for(1ms);
        std::array<std::byte, 1> byte{};
        while (serial.read(5, byte), (byte[0] & std::byte{1}) != std::byte{0}) {
            serial.read(0, byte);
            got.push_back(static_cast<char>(byte[0]));
        }
    }
    return got;
}

std::unique_ptr<Serial> make_serial(EventLoop& loop) {
    auto serial = Serial::create(loop, std::make_shared<OutputSink>());
    EXPECT_TRUE(serial);
    return std::move(*serial);
}

TEST(EscapeKeys, TakesItsOwnKeysAndPassesTheRest) {
    EscapeKeys keys;
    const auto type = [&](char c) { return keys.typed(static_cast<std::byte>(c)); };
    EXPECT_EQ(type('q').to_guest, std::byte{'q'});
    EXPECT_EQ(type('\x01').to_guest, std::nullopt);
    EXPECT_EQ(type('x').command, EscapeKeys::Command::quit);
    EXPECT_EQ(type('x').to_guest, std::byte{'x'});
    (void)type('\x01');
    EXPECT_EQ(type('h').command, EscapeKeys::Command::help);
    (void)type('\x01');
    EXPECT_EQ(type('a').to_guest, std::byte{1});
    (void)type('\x01');
    EXPECT_EQ(type('\x01').to_guest, std::byte{1});
    (void)type('\x01');
    const auto unknown = type('%');
    EXPECT_FALSE(unknown.to_guest || unknown.command);
    EXPECT_EQ(type('%').to_guest, std::byte{'%'});
}

TEST(Console, AFileIsReadAsThereIsRoomAndItsEndChangesNothing) {
    const TemporaryFile file(0);
    std::string text;
    for (int i = 0; i < 200; ++i)
        text += fmt::format("line {}\x01x\n", i);
    ASSERT_EQ(::pwrite(file.fd(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));

    EventLoop loop;
    const auto serial = make_serial(loop);
    int quits = 0;
    const auto console = Console::attach(loop, *serial, file.fd(), [&] { ++quits; });
    ASSERT_TRUE(console);
    loop.context().run_for(5ms);
    EXPECT_LE(::lseek(file.fd(), 0, SEEK_CUR), 256);
    EXPECT_EQ(receive(*serial, loop, text.size()), text);
    EXPECT_EQ(quits, 0) << "only a terminal has escape keys";
}

TEST(Console, APipeIsReadAsThereIsRoom) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    FileDescriptor from(ends[0]);
    FileDescriptor to(ends[1]);
    EventLoop loop;
    const auto serial = make_serial(loop);
    const auto console = Console::attach(loop, *serial, from.get(), nullptr);
    ASSERT_TRUE(console);
    const std::string text(10'000, 'k');
    ASSERT_EQ(::write(to.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
    loop.context().run_for(5ms);
    int waiting = 0;
    ASSERT_EQ(::ioctl(from.get(), FIONREAD, &waiting), 0);
    EXPECT_GE(waiting, 9'000) << "what the guest does not take stays in the pipe";
    EXPECT_EQ(receive(*serial, loop, text.size()).size(), text.size());
    to.close();
    loop.context().run_for(5ms);
}

TEST(Console, NothingComesFromDevNull) {
    const FileDescriptor null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    EventLoop loop;
    const auto serial = make_serial(loop);
    ASSERT_TRUE(Console::attach(loop, *serial, null.get(), nullptr));
    EXPECT_EQ(receive(*serial, loop, 1, 5ms), "");
    EXPECT_FALSE(Console::attach(loop, *serial, 9999, nullptr));
}

/// A pseudo-terminal, and children that have it as their controlling terminal.
class TerminalTest : public testing::Test {
protected:
    void SetUp() override {
        master = FileDescriptor(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
        ASSERT_TRUE(master.valid());
        ASSERT_EQ(::grantpt(master.get()), 0);
        ASSERT_EQ(::unlockpt(master.get()), 0);
        name = ::ptsname(master.get());
        // Held open, so that the terminal outlives the child.
        slave = FileDescriptor(::open(name.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
        ASSERT_TRUE(slave.valid());
        ASSERT_EQ(::tcgetattr(slave.get(), &before), 0);
    }

    template <typename F>
    pid_t start(F body) {
        const pid_t child = ::fork();
        if (child == 0) {
            ::setsid();
            const int terminal = ::open(name.c_str(), O_RDWR);
            // The sanitizer's own handlers would print a report.
            for (const int signal : {SIGSEGV, SIGABRT, SIGBUS, SIGTERM})
                std::signal(signal, SIG_DFL);
            body(terminal);
            ::_exit(0);
        }
        return child;
    }
    static int wait_for(pid_t child) {
        int status = 0;
        ::waitpid(child, &status, 0);
        return status;
    }
    [[nodiscard]] bool is_raw() const {
        termios now{};
        ::tcgetattr(slave.get(), &now);
        return (now.c_lflag & ICANON) == 0;
    }
    void expect_restored() const {
        termios now{};
        ASSERT_EQ(::tcgetattr(slave.get(), &now), 0);
        EXPECT_EQ(now.c_lflag, before.c_lflag);
        EXPECT_EQ(now.c_iflag, before.c_iflag);
        EXPECT_EQ(now.c_oflag, before.c_oflag);
    }

    FileDescriptor master;
    FileDescriptor slave;
    std::string name;
    termios before{};
};

[[noreturn]] void crash() {
    (void)::kill(::getpid(), SIGSEGV);
    std::abort();
}

TEST_F(TerminalTest, IsRestoredOnEveryWayOut) {
    struct Way {
        const char* name;
        void (*leave)();
        bool killed;
    };
    const Way ways[] = {
        {"return", [] {}, false},
        {"exit", [] { std::exit(0); }, false},
        {"SIGTERM", [] { std::raise(SIGTERM); }, true},
        {"abort", [] { std::abort(); }, true},
        {"SIGSEGV", [] { crash(); }, true},
    };
    for (const Way& way : ways) {
        SCOPED_TRACE(way.name);
        std::array<int, 2> ends{};
        ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
        FileDescriptor from(ends[0]);
        FileDescriptor to(ends[1]);
        const pid_t child = start([&](int terminal) {
            const auto raw = RawTerminal::enter(terminal);
            const char entered = raw ? 'r' : 'n';
            if (::write(to.get(), &entered, 1) != 1)
                ::_exit(9);
            ::usleep(50'000);
            way.leave();
        });
        char entered = 0;
        ASSERT_EQ(::read(from.get(), &entered, 1), 1);
        EXPECT_EQ(entered, 'r');
        EXPECT_TRUE(is_raw());
        const int status = wait_for(child);
        EXPECT_EQ(WIFSIGNALED(status), way.killed) << status;
        expect_restored();
    }
}

TEST_F(TerminalTest, ATerminalThatIsNotOursIsLeftAlone) {
    EXPECT_FALSE(RawTerminal::enter(slave.get()));
    EXPECT_FALSE(RawTerminal::enter(-1));
    EventLoop loop;
    const auto serial = make_serial(loop);
    ASSERT_TRUE(Console::attach(loop, *serial, slave.get(), nullptr));
    expect_restored();
}

// 41 of 200 pasted lines arrived.
TEST_F(TerminalTest, C12_WhatIsPastedArrivesWhole) {
    termios raw = before;
    ::cfmakeraw(&raw);
    ASSERT_EQ(::tcsetattr(slave.get(), TCSANOW, &raw), 0);
    // More than waits here; as much of it as the terminal holds is there before the guest takes the first byte.
    std::string pasted;
    for (int line = 0; pasted.size() < 20'000; ++line)
        pasted += fmt::format("line {} of what is pasted\n", line);
    ASSERT_EQ(::fcntl(master.get(), F_SETFL, O_NONBLOCK), 0);
    std::size_t written = 0;
    const auto write_on = [&] {
        const ssize_t length = ::write(master.get(), pasted.data() + written, pasted.size() - written);
        written += length > 0 ? static_cast<std::size_t>(length) : 0;
        return length > 0;
    };
    while (written < pasted.size() && write_on()) {
    }
    const pid_t child = start([&](int terminal) {
        EventLoop loop;
        const auto serial = make_serial(loop);
        const auto console = Console::attach(loop, *serial, terminal, nullptr);
        if (!console)
            ::_exit(1);
        for (int turn = 0; turn < 500; ++turn)
            loop.context().poll_one();
        if (receive(*serial, loop, pasted.size()) != pasted)
            ::_exit(2);
        if ((*console)->dropped().value != 0)
            ::_exit(3);
    });
    ASSERT_EQ(::fcntl(master.get(), F_SETFL, 0), 0);
    while (written < pasted.size() && write_on()) {
    }
    const int status = wait_for(child);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(TerminalTest, KeysReachTheGuestAndEscapesTheMonitorEvenWhenTheGuestHangs) {
    const pid_t child = start([](int terminal) {
        EventLoop loop;
        const auto serial = make_serial(loop);
        bool quit = false;
        const auto console = Console::attach(loop, *serial, terminal, [&] { quit = true; });
        if (!console)
            ::_exit(1);
        // The guest does not listen, and more is typed than is kept for it.
        for (int i = 0; i < 2000 && !quit; ++i)
            loop.context().run_for(1ms);
        if (!quit)
            ::_exit(2);
        if ((*console)->dropped().value == 0)
            ::_exit(4);
        if (!receive(*serial, loop, 3).starts_with("abc"))
            ::_exit(3);
    });
    while (!is_raw())
        ::usleep(1000);
    const std::string typed = "abc" + std::string(6000, '.') + "\x01x";
    for (const char c : typed)
        ASSERT_EQ(::write(master.get(), &c, 1), 1);
    const int status = wait_for(child);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

} // namespace
} // namespace aerate
