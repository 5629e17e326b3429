#include "base/fd.hpp"
#include "base/testing/temporary_directory.hpp"
#include "memory/file_lease.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <string.h>

#include <sys/eventfd.h>

#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <utility>

namespace aerate {
namespace {

/// A snapshot is read on a thread that ends when that is done; its guest runs for days.
TEST(MemoryLease, S6_TellsOfAWriterWhenTheThreadThatTookItIsGone) {
    const TemporaryDirectory directory;
    const std::string path = directory / "snapshot";
    std::ofstream(path) << "pages";
    const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const FileDescriptor event(::eventfd(0, EFD_CLOEXEC));
    std::optional<FileLease> lease;
    int error = 0;
    std::thread([&] {
        if (auto taken = FileLease::take(fd.get(), event.get()))
            lease.emplace(std::move(*taken));
        else
            error = errno;
    }).join();
    ASSERT_TRUE(lease) << ::strerror(error);
    std::thread writer([&] { FileDescriptor(::open(path.c_str(), O_WRONLY | O_CLOEXEC)).close(); });
    pollfd told{.fd = event.get(), .events = POLLIN, .revents = 0};
    int ready = 0;
    do
        ready = ::poll(&told, 1, 20'000);
    while (ready < 0 && errno == EINTR);
    EXPECT_EQ(ready, 1);
    EXPECT_TRUE(lease->broken());
    lease->give_up();
    writer.join();
}

} // namespace
} // namespace aerate
