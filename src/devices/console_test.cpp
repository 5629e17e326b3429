#include "base/testing/temporary_file.hpp"
#include "devices/console.hpp"

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

/// Reads like a guest with the receive interrupt on.
std::string receive(Serial& serial, EventLoop& loop, std::size_t enough, int patience = 2000) {
    out(serial, 2, 0x01);
    out(serial, 1, 0x01);
    std::string got;
    for (int i = 0; i < patience && got.size() < enough; ++i) {
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
    auto serial = Serial::create(loop, OutputSink());
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
    EXPECT_EQ(receive(*serial, loop, 1, 5), "");
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
