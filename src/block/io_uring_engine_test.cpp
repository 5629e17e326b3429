#include "base/fd.hpp"
#include "block/io_engine.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <sys/uio.h>

#include <array>

namespace aerate {
namespace {

TEST(IoUringEngine, AbandonCancelsWhatWouldWaitForEver) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    const FileDescriptor from(ends[0]);
    const FileDescriptor to(ends[1]);
    auto engine = make_io_uring_engine(from.get(), 4);
    if (!engine)
        GTEST_SKIP() << engine.error().message;
    std::array<char, 8> bytes{};
    const iovec buffer{bytes.data(), bytes.size()};
    for (std::uint64_t token = 0; token < 4; ++token)
        (*engine)->submit({.kind = IoOperation::Kind::read, .buffers = {&buffer, 1}, .offset = ~0ULL}, token);
    ASSERT_TRUE((*engine)->flush());
    (*engine)->abandon();
    ASSERT_EQ(::write(to.get(), "too late", 8), 8);
    ::usleep(10'000);
    EXPECT_EQ(bytes, (std::array<char, 8>{}));
    EXPECT_FALSE((*engine)->take_completion());
}

} // namespace
} // namespace aerate
