// C10: what the guest says is kept, whatever becomes of the file or of who reads it.
#include "base/testing/temporary_directory.hpp"
#include "platform/output_sink.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <sys/resource.h>
#include <sys/stat.h>

#include <array>
#include <csignal>
#include <fstream>
#include <iterator>
#include <string>

namespace aerate {
namespace {

std::size_t put(OutputSink& sink, std::string_view text) {
    return sink.write(std::as_bytes(std::span(text)));
}

std::string contents(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

[[nodiscard]] bool readable(int fd, int milliseconds) {
    pollfd poll{.fd = fd, .events = POLLIN, .revents = 0};
    return ::poll(&poll, 1, milliseconds) == 1;
}

TEST(OutputSink, C10_AFileIsAppendedTo) {
    const TemporaryDirectory directory;
    const std::string path = directory / "log";
    std::ofstream(path) << "before\n";
    auto sink = OutputSink::open_file(path);
    ASSERT_TRUE(sink) << sink.error().message;
    EXPECT_EQ(put(*sink, "boot\n"), 5U);
    EXPECT_EQ(contents(path), "before\nboot\n");
    ASSERT_EQ(::truncate(path.c_str(), 0), 0);
    EXPECT_EQ(put(*sink, "rotated\n"), 8U);
    EXPECT_EQ(contents(path), "rotated\n");
}

TEST(OutputSink, C10_AFifoIsNotWaitedForAndSurvivesItsReaders) {
    const TemporaryDirectory directory;
    const std::string path = directory / "fifo";
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    auto sink = OutputSink::open_file(path);
    ASSERT_TRUE(sink) << sink.error().message;
    EXPECT_EQ(put(*sink, "early"), 5U);
    for (int reader = 0; reader < 2; ++reader) {
        const FileDescriptor end(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
        std::array<char, 16> text{};
        EXPECT_EQ(::read(end.get(), text.data(), text.size()), 5);
        EXPECT_STREQ(text.data(), reader == 0 ? "early" : "later");
        EXPECT_EQ(put(*sink, "later"), 5U);
    }
    // As no process reads from the FIFO, it fills up; the writer must not block.
    const std::string much(1 << 20, 'x');
    std::size_t taken = 0;
    while (const std::size_t now = put(*sink, much))
        taken += now;
    EXPECT_LT(taken, much.size());
    EXPECT_FALSE(readable(sink->writable_fd(), 0));
}

TEST(OutputSink, C10_AFileThatCannotBeWrittenIsTriedAgain) {
    const TemporaryDirectory directory;
    const std::string path = directory / "log";
    auto sink = OutputSink::open_file(path);
    ASSERT_TRUE(sink) << sink.error().message;
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    auto* const signal_before = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &none), 0);
    EXPECT_EQ(put(*sink, "words"), 0U);
    EXPECT_EQ(put(*sink, "words"), 0U) << "an error does not end it";
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)std::signal(SIGXFSZ, signal_before);
    EXPECT_TRUE(readable(sink->writable_fd(), 10'000)) << "it asks to be tried again";
    EXPECT_EQ(put(*sink, "words"), 5U);
    EXPECT_EQ(contents(path), "words");
}

TEST(OutputSink, C10_APipeThatNobodyReadsAnyMoreIsGone) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    const FileDescriptor in(ends[1]);
    FileDescriptor out(ends[0]);
    auto sink = OutputSink::duplicate(in.get());
    ASSERT_TRUE(sink);
    auto* const signal_before = std::signal(SIGPIPE, SIG_IGN);
    out.close();
    EXPECT_EQ(put(*sink, "words"), 5U) << "they go nowhere, and wait for nothing";
    (void)std::signal(SIGPIPE, signal_before);
}

} // namespace
} // namespace aerate
