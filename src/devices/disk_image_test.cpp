#include "devices/disk_image.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

namespace aerate {
namespace {

TEST(DiskImage, ArrivesWhenTheOtherMonitorSharesIt) {
    std::string path = ::testing::TempDir() + "aerate-disk-XXXXXX";
    const FileDescriptor made(::mkstemp(path.data()));
    ASSERT_TRUE(made.valid());
    ASSERT_EQ(::ftruncate(made.get(), 1 << 20), 0);
    const auto source = DiskImage::open({.path = path});
    ASSERT_TRUE(source) << source.error().message;
    const auto there = DiskImage::open({.path = path, .arriving = true});
    ASSERT_TRUE(there) << there.error().message;
    EXPECT_FALSE(there->arrive()) << "its guest still runs elsewhere";
    source->share();
    EXPECT_TRUE(there->arrive());
    EXPECT_FALSE(DiskImage::open({.path = path})) << "nobody else gets it meanwhile";
    ::unlink(path.c_str());
}

} // namespace
} // namespace aerate
