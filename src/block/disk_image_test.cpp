#include "base/testing/temporary_file.hpp"
#include "block/disk_identity.hpp"
#include "block/disk_image.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <sys/stat.h>

#include <optional>
#include <string>
#include <string_view>

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

TEST(DiskImage, C5_TheLockSaysWhatIsTrueAtEachStepOfAMove) {
    const TemporaryFile file(1 << 20);
    const auto& path = file.path();
    std::optional<Result<DiskImage>> source = DiskImage::open({.path = path});
    ASSERT_TRUE(*source) << source->error().message;
    {
        const auto there = DiskImage::open({.path = path, .arriving = true});
        const auto elsewhere = DiskImage::open({.path = path, .arriving = true});
        ASSERT_TRUE(there && elsewhere) << there.error().message;
        EXPECT_FALSE(there->arrive()) << "its guest still runs";
        ASSERT_TRUE((*source)->hand_over());
        EXPECT_FALSE(DiskImage::open({.path = path})) << "nobody else gets it meanwhile";
        EXPECT_FALSE(DiskImage::open({.path = path, .read_only = true}));
        EXPECT_FALSE(DiskImage::open({.path = path, .arriving = true})) << "who was not there before comes too late";
        EXPECT_TRUE(there->arrive());
        EXPECT_FALSE(elsewhere->arrive()) << "two cannot both arrive";
    }
    ASSERT_TRUE((*source)->take_back()) << "it stays";
    const auto there = DiskImage::open({.path = path, .arriving = true});
    ASSERT_TRUE(there) << there.error().message;
    EXPECT_FALSE(there->arrive());
    ASSERT_TRUE((*source)->hand_over());
    ASSERT_TRUE(there->arrive());
    source.reset();
    EXPECT_FALSE(DiskImage::open({.path = path, .read_only = true})) << "the destination writes it, so nobody reads it";
    EXPECT_FALSE(DiskImage::open({.path = path}));
}

TEST(DiskImage, C5_AnArrivingGuestDoesNotGetAnothersDisk) {
    const TemporaryFile file(1 << 20);
    {
        const auto reader = DiskImage::open({.path = file.path(), .read_only = true});
        EXPECT_FALSE(DiskImage::open({.path = file.path(), .arriving = true})) << "it is to stay as it is";
    }
    const auto writer = DiskImage::open({.path = file.path()});
    const auto there = DiskImage::open({.path = file.path(), .arriving = true});
    ASSERT_TRUE(there) << "that may be the one whose guest comes";
    EXPECT_FALSE(there->arrive()) << "and is not";
}

// As file-posix.c of QEMU 7.2 takes and looks for them: for `readonly=on` byte 100, and 201 and 203; looked for: 101,
// 103, 200.
TEST(DiskImage, C5_QemuCanShareAReadOnlyImage) {
    const TemporaryFile file(1 << 20);
    const auto ours = DiskImage::open({.path = file.path(), .read_only = true});
    ASSERT_TRUE(ours);
    const auto somebody_has = [&](off_t byte) {
        struct flock request{.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1, .l_pid = 0};
        EXPECT_EQ(::fcntl(file.fd(), F_OFD_GETLK, &request), 0);
        return request.l_type != F_UNLCK;
    };
    EXPECT_FALSE(somebody_has(101) || somebody_has(103) || somebody_has(200));
    EXPECT_TRUE(somebody_has(100) && somebody_has(201)) << "and cannot write it";
}

TEST(DiskImage, C13_AnOddTailIsSaidAndNotCutOff) {
    const TemporaryFile odd(1000000);
    const auto image = DiskImage::open({.path = odd.path()});
    ASSERT_FALSE(image);
    EXPECT_NE(image.error().message.find("truncate -s %512 " + odd.path()), std::string::npos) << image.error().message;
    ASSERT_EQ(::ftruncate(odd.fd(), 1000448), 0);
    EXPECT_TRUE(DiskImage::open({.path = odd.path()}));
}

TEST(DiskImage, C13_AnImageThatIsNoRawDiskIsRefusedWithTheCommandThatConvertsIt) {
    const TemporaryFile file(1 << 20);
    const auto expect = [&](std::string_view name, std::string_view magic, off_t offset) {
        const std::string nothing(512, '\0');
        ASSERT_EQ(::pwrite(file.fd(), nothing.data(), nothing.size(), 0), 512);
        EXPECT_TRUE(DiskImage::open({.path = file.path()}));
        ASSERT_EQ(::pwrite(file.fd(), magic.data(), magic.size(), offset), static_cast<ssize_t>(magic.size()));
        const auto image = DiskImage::open({.path = file.path()});
        ASSERT_FALSE(image) << name;
        EXPECT_NE(image.error().message.find(fmt::format("qemu-img convert -f {} -O raw", name)), std::string::npos)
            << image.error().message;
    };
    using namespace std::string_view_literals;
    expect("qcow2", "QFI\xfb\0\0\0\3"sv, 0);
    expect("vmdk", "KDMV"sv, 0);
    expect("vdi", "\x7f\x10\xda\xbe"sv, 64);
    expect("vhdx", "vhdxfile"sv, 0);
    expect("qed", "QED\0"sv, 0);
    EXPECT_TRUE(DiskImage::open({.path = file.path(), .resumed = true}))
        << "a guest may write what it likes on its disk";
}

TEST(DiskIdentity, C14_SaysThatADiskWasWrittenSince) {
    const TemporaryFile file(8 << 20);
    const auto identity = [&] { return *DiskIdentity::of(file.fd(), 8 << 20); };
    const auto at_time = [&](time_t second) {
        const timespec times[2] = {{.tv_sec = second, .tv_nsec = 7}, {.tv_sec = second, .tv_nsec = 7}};
        ASSERT_EQ(::futimens(file.fd(), times), 0);
    };
    at_time(1000);
    const auto saved = identity();
    EXPECT_FALSE(difference(saved, identity()));
    EXPECT_EQ(*DiskIdentity::parse(saved.text()), saved);
    for (const std::string& wrong :
         {std::string(), saved.text() + "0", saved.text().substr(1, 20), std::string("-1-2-3-4")})
        EXPECT_FALSE(DiskIdentity::parse(wrong)) << wrong;
    ASSERT_EQ(::pwrite(file.fd(), "x", 1, 4 << 20), 1);
    at_time(1001);
    EXPECT_TRUE(difference(saved, identity())) << "in the middle: its time tells";
    auto copy = identity();
    ++copy.inode;
    EXPECT_FALSE(difference(saved, copy)) << "a copy has a time of its own";
    for (const off_t place : {off_t{0}, (off_t{8} << 20) - 1}) {
        ASSERT_EQ(::pwrite(file.fd(), "x", 1, place), 1);
        at_time(1000);
        EXPECT_TRUE(difference(saved, identity())) << "at " << place;
        ASSERT_EQ(::pwrite(file.fd(), "", 1, place), 1);
    }
}

} // namespace
} // namespace aerate
