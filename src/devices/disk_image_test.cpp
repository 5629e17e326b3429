#include "base/testing/temporary_file.hpp"
#include "devices/disk_image.hpp"

#include <gtest/gtest.h>

namespace aerate {
namespace {

TEST(DiskImage, IsLockedAgainstASecondWriter) {
    const TemporaryFile file(4096);
    {
        const auto first = DiskImage::open({.path = file.path()});
        ASSERT_TRUE(first);
        const auto second = DiskImage::open({.path = file.path()});
        ASSERT_FALSE(second);
        EXPECT_NE(second.error().message.find("in use by another"), std::string::npos);
        EXPECT_FALSE(DiskImage::open({.path = file.path(), .read_only = true}));
    }
    const auto first = DiskImage::open({.path = file.path(), .read_only = true});
    EXPECT_TRUE(first);
    EXPECT_TRUE(DiskImage::open({.path = file.path(), .read_only = true}));
    EXPECT_FALSE(DiskImage::open({.path = file.path()}));
}

TEST(DiskImage, SaysWhatIsWrongWithAPath) {
    EXPECT_FALSE(DiskImage::open({.path = "/nonexistent/disk"}));
    EXPECT_FALSE(DiskImage::open({.path = "/dev/null"}));
    EXPECT_FALSE(DiskImage::open({.path = "/tmp"}));
    const TemporaryFile tiny(511);
    EXPECT_FALSE(DiskImage::open({.path = tiny.path()}));
}

TEST(DiskImage, ArrivesWhenTheOtherMonitorSharesIt) {
    const TemporaryFile file(1 << 20);
    const auto& path = file.path();
    const auto source = DiskImage::open({.path = path});
    ASSERT_TRUE(source) << source.error().message;
    const auto there = DiskImage::open({.path = path, .arriving = true});
    ASSERT_TRUE(there) << there.error().message;
    EXPECT_FALSE(there->arrive()) << "its guest still runs elsewhere";
    source->share();
    EXPECT_TRUE(there->arrive());
    EXPECT_FALSE(DiskImage::open({.path = path})) << "nobody else gets it meanwhile";
}

} // namespace
} // namespace aerate
