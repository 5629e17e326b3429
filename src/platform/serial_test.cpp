#include "platform/output_sink.hpp"
#include "platform/serial.hpp"

#include <boost/asio/io_context.hpp>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <regex>
#include <string>
#include <thread>

namespace aerate {
namespace {

using namespace std::chrono_literals;

struct Pipe {
    FileDescriptor in;
    FileDescriptor out;
    Pipe() {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0)
            ends = {-1, -1};
        out = FileDescriptor(ends[0]);
        in = FileDescriptor(ends[1]);
    }
};

std::string read_some(int fd) {
    std::string text(1U << 20, '\0');
    const ssize_t length = ::read(fd, text.data(), text.size());
    text.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
    return text;
}

void out(Serial& serial, std::uint64_t offset, std::uint8_t value) {
    const std::byte byte{value};
    serial.write(offset, {&byte, 1});
}
std::uint8_t in(Serial& serial, std::uint64_t offset) {
    std::array<std::byte, 1> byte{};
    serial.read(offset, byte);
    return std::to_integer<std::uint8_t>(byte[0]);
}
void put(Serial& serial, std::string_view text) {
    for (const char c : text)
        out(serial, 0, static_cast<std::uint8_t>(c));
}

class SerialTest : public testing::Test {
protected:
    std::unique_ptr<Serial> make(int fd) {
        auto sink = OutputSink::duplicate(fd);
        EXPECT_TRUE(sink);
        auto serial = Serial::create(loop, std::make_shared<OutputSink>(std::move(*sink)));
        EXPECT_TRUE(serial);
        return std::move(*serial);
    }
    void run(std::chrono::milliseconds time = 20ms) { loop.context().run_for(time); }
    EventLoop loop;
    Pipe pipe;
};

TEST_F(SerialTest, OutputReachesThePipeInOrder) {
    const auto serial = make(pipe.in.get());
    put(*serial, "hello, ");
    put(*serial, "world");
    run();
    EXPECT_EQ(read_some(pipe.out.get()), "hello, world");
    serial->print("!");
    run();
    EXPECT_EQ(read_some(pipe.out.get()), "!");
}

TEST_F(SerialTest, WhatIsLeftGoesOutAtTheEnd) {
    put(*make(pipe.in.get()), "last words");
    EXPECT_EQ(read_some(pipe.out.get()), "last words");
}

TEST_F(SerialTest, AStalledPipeBlocksNobodyAndLosesTheOldestOutput) {
    const auto serial = make(pipe.in.get());
    EXPECT_EQ(::fcntl(pipe.in.get(), F_GETFL) & O_NONBLOCK, 0) << "the caller's descriptor is left alone";
    // Several times what the pipe and our buffers hold, in lines, so that what is lost shows.
    const unsigned lines = 400'000;
    for (unsigned i = 0; i < lines; ++i) {
        serial->print(fmt::format("{:07}\n", i));
        if (i % 10'000 == 0)
            run(1ms);
    }
    EXPECT_GT(serial->dropped().value, 0U);

    std::string all;
    while (!all.ends_with("0399999\n")) {
        all += read_some(pipe.out.get());
        run(1ms);
    }
    // What is lost is counted, and said where it is missing.
    const std::regex notice("\r\naerate: (\\d+) bytes of console output were dropped here\r\n");
    std::uint64_t said = 0;
    for (std::sregex_iterator found(all.begin(), all.end(), notice), end; found != end; ++found)
        said += std::stoull((*found)[1]);
    EXPECT_EQ(said, serial->dropped().value);
    EXPECT_EQ(std::regex_replace(all, notice, "").size() + said, std::uint64_t{lines} * 8);
    EXPECT_TRUE(all.starts_with("0000000\n"));
}

TEST_F(SerialTest, AClosedOutputIsGivenUp) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    FileDescriptor near(ends[0]);
    FileDescriptor far(ends[1]);
    const auto serial = make(near.get());
    put(*serial, "x");
    run();
    EXPECT_EQ(read_some(far.get()), "x");
    far.close();
    put(*serial, "y");
    run();
    put(*serial, "z");
    run();
}

TEST_F(SerialTest, InputWaitsForRoomAndIsCalledFor) {
    const auto serial = make(pipe.in.get());
    const std::string text = "0123456789abcdefghij";
    std::span<const std::byte> left = std::as_bytes(std::span(text));
    int calls = 0;
    std::function<void()> feed = [&] {
        ++calls;
        left = left.subspan(serial->receive(left));
        if (!left.empty())
            serial->when_receive_space([&] { feed(); });
    };
    feed();
    run();
    EXPECT_EQ(left.size(), 20U) << "the guest does not listen yet";
    EXPECT_EQ(calls, 1);

    out(*serial, 2, 0x01);
    out(*serial, 1, 0x01);
    run();
    EXPECT_EQ(left.size(), 4U);
    EXPECT_TRUE(serial->interrupt().drain());
    EXPECT_EQ(in(*serial, 2), 0xc4);

    std::string got;
    for (int i = 0; i < 100 && got.size() < text.size(); ++i) {
        while ((in(*serial, 5) & 1) != 0)
            got.push_back(static_cast<char>(in(*serial, 0)));
        run(1ms);
    }
    EXPECT_EQ(got, text);
}

TEST_F(SerialTest, VcpuThreadsAndTheLoopShareItSafely) {
    const auto serial = make(pipe.in.get());
    constexpr unsigned each = 20'000;
    std::string all;
    {
        std::jthread first([&] {
            for (unsigned i = 0; i < each; ++i)
                out(*serial, 0, 'a');
        });
        std::jthread second([&] {
            for (unsigned i = 0; i < each; ++i) {
                out(*serial, 0, 'b');
                (void)in(*serial, i % 8);
            }
        });
        while (all.size() < 2 * each) {
            run(1ms);
            std::array<char, 65536> chunk{};
            ::fcntl(pipe.out.get(), F_SETFL, O_NONBLOCK);
            const ssize_t length = ::read(pipe.out.get(), chunk.data(), chunk.size());
            if (length > 0)
                all.append(chunk.data(), static_cast<std::size_t>(length));
        }
    }
    EXPECT_EQ(std::ranges::count(all, 'a'), each);
    EXPECT_EQ(std::ranges::count(all, 'b'), each);
}

} // namespace
} // namespace aerate
