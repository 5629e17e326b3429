// Another image in place of the one that the guest has had, as Firecracker's PATCH /drives does.
#include "base/endian.hpp"
#include "base/testing/temporary_file.hpp"
#include "block/block.hpp"
#include "virtio/testing/fake_driver.hpp"

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <memory>

namespace aerate {
namespace {

using namespace virtio::testing;

class ChangeImage : public ::testing::Test {
protected:
    void SetUp() override {
        auto made = Block::create(loop_, fake_.memory(), open(first_), "id", {.engine = IoEngineKind::blocking});
        ASSERT_TRUE(made);
        block_ = *std::move(made);
        virtio::Virtqueue* const queues[] = {&queue_.device()};
        block_->activate({virtio::FeatureSet{split_ring.bits}, queues, &host_});
    }

    static std::shared_ptr<const DiskImage> open(const TemporaryFile& file, bool read_only = false) {
        return std::make_shared<const DiskImage>(*DiskImage::open({.path = file.path(), .read_only = read_only}));
    }
    std::uint64_t capacity() {
        std::array<std::byte, 8> bytes{};
        block_->read_config(0, bytes);
        return load_little_endian<std::uint64_t>(bytes);
    }

    EventLoop loop_;
    FakeDriver fake_;
    FakeHost host_;
    FakeQueue queue_ = fake_.queue(16, split_ring);
    TemporaryFile first_{65536};
    TemporaryFile second_{131072};
    std::unique_ptr<Block> block_;
};

TEST_F(ChangeImage, TheGuestLearnsTheNewSize) {
    EXPECT_EQ(capacity(), 128U);
    ASSERT_TRUE(block_->change_image(open(second_), IoEngineKind::blocking));
    EXPECT_EQ(capacity(), 256U);
    EXPECT_EQ(host_.config_changes, 1U);
    EXPECT_EQ(block_->image().path(), second_.path());
}

TEST_F(ChangeImage, OneOfAnotherKindIsRefusedAndChangesNothing) {
    EXPECT_FALSE(block_->change_image(open(second_, true), IoEngineKind::blocking)) << "it is read-only";
    EXPECT_EQ(capacity(), 128U);
    EXPECT_EQ(host_.config_changes, 0U);
    EXPECT_EQ(block_->image().path(), first_.path());
}

TEST_F(ChangeImage, TheSameImageMayHaveGrown) {
    EXPECT_TRUE(block_->image().is_at(first_.path()));
    EXPECT_FALSE(block_->image().is_at(second_.path()));
    std::filesystem::resize_file(first_.path(), 262144);
    auto again = block_->image().again(first_.path());
    ASSERT_TRUE(again) << again.error().message;
    ASSERT_TRUE(block_->change_image(std::make_shared<const DiskImage>(*std::move(again)), IoEngineKind::blocking));
    EXPECT_EQ(capacity(), 512U);
    EXPECT_EQ(host_.config_changes, 1U);
    EXPECT_FALSE(DiskImage::open({.path = first_.path()})) << "it is locked as it was";
    std::filesystem::resize_file(first_.path(), 100);
    EXPECT_FALSE(block_->image().again(first_.path()));
    std::filesystem::resize_file(first_.path(), 1000);
    EXPECT_FALSE(block_->image().again(first_.path())) << "no multiple of a sector";
}

TEST_F(ChangeImage, TheOldImageIsLetGo) {
    ASSERT_TRUE(block_->change_image(open(second_), IoEngineKind::blocking));
    EXPECT_TRUE(DiskImage::open({.path = first_.path()})) << "another monitor may have it";
    EXPECT_FALSE(DiskImage::open({.path = second_.path()}));
}

} // namespace
} // namespace aerate
