// A disk that has no room: what its guest, and its operator, see of that.
#include "base/testing/temporary_file.hpp"
#include "block/block.hpp"
#include "block/testing/block_wire.hpp"
#include "block/testing/unkind_engine.hpp"
#include "virtio/testing/fake_driver.hpp"

#include <boost/asio/io_context.hpp>
#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

namespace aerate {
namespace {

using namespace std::chrono_literals;
using namespace testing;
using namespace virtio::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;

class AFullDisk : public ::testing::Test {
protected:
    void make(OnDiskError on_error) {
        auto image =
            DiskImage::open({.path = file.path(), .label = "drive rootfs of the VM web1", .on_error = on_error});
        ASSERT_TRUE(image) << image.error().message;
        auto engine = std::make_unique<UnkindEngine>(image->fd(), 5);
        disk = engine.get();
        device = std::make_unique<Block>(loop, fake.memory(), std::make_shared<DiskImage>(std::move(*image)),
                                         std::move(engine), "rootfs");
        activate();
        disk->full = true;
    }
    void activate() {
        queue.emplace(fake.queue(64, split_ring));
        virtio::Virtqueue* const queues[] = {&queue->device()};
        device->activate({{device->offered_features().bits | split_ring.bits}, queues, &host});
    }
    void write(std::uint64_t sector) {
        queue->add({readable(Header{out, 0, sector}), readable(data), writable(1)});
        device->kicked({0});
    }
    void read() {
        queue->add({readable(Header{in, 0, 64}), writable(512), writable(1)});
        device->kicked({0});
    }
    template <typename Condition>
    bool turn_until(Condition condition) {
        bool holds = condition();
        for (int i = 0; i < 5000 && !holds; ++i) {
            loop.context().run_for(1ms);
            holds = condition();
        }
        return holds;
    }
    /// The status of the next request that is answered.
    std::byte answer() {
        std::optional<FakeUsed> used;
        EXPECT_TRUE(turn_until([&] { return (used = queue->take_used()).has_value(); }));
        return used ? used->bytes.back() : std::byte{0xee};
    }
    [[nodiscard]] bool failed(std::uint64_t times) {
        return turn_until([&] { return device->counters().failed >= times; });
    }

    EventLoop loop;
    FakeDriver fake;
    FakeHost host;
    TemporaryFile file{256 * 512};
    std::vector<std::byte> data{512, std::byte{0x5a}};
    UnkindEngine* disk = nullptr;
    std::unique_ptr<Block> device;
    std::optional<FakeQueue> queue;
};

TEST_F(AFullDisk, C15_IsAnErrorOfTheGuests) {
    make(OnDiskError::report);
    write(0);
    EXPECT_EQ(answer(), io_error);
    EXPECT_EQ(device->trouble(), "") << "nothing waits";
}

TEST_F(AFullDisk, C15_HoldsARequestUntilThereIsRoomAndSaysSo) {
    make(OnDiskError::pause);
    EXPECT_EQ(device->trouble(), "");
    write(0);
    ASSERT_TRUE(failed(1));
    EXPECT_THAT(device->trouble(), AllOf(HasSubstr("drive rootfs of the VM web1"), HasSubstr(file.path()),
                                         HasSubstr("No space left"), HasSubstr("1 of the guest's requests waits")));
    // What needs no room works, and changes nothing of what waits.
    read();
    EXPECT_EQ(answer(), ok);
    EXPECT_NE(device->trouble(), "");
    write(8);
    ASSERT_TRUE(failed(2));
    EXPECT_THAT(device->trouble(), HasSubstr("2 of the guest's requests wait"));
    ASSERT_TRUE(failed(4)) << "they are tried again";
    EXPECT_EQ(device->counters().held, 2U) << "each once, however often it is tried";
    disk->full = false;
    EXPECT_EQ(answer(), ok) << "the guest sees a slow disk";
    EXPECT_EQ(answer(), ok);
    EXPECT_EQ(device->trouble(), "") << "it goes back by itself";
    EXPECT_TRUE(std::ranges::equal(file.contents(512), data));
}

TEST_F(AFullDisk, C15_IsForgottenWithAReset) {
    make(OnDiskError::pause);
    write(0);
    ASSERT_TRUE(failed(1));
    device->reset();
    EXPECT_EQ(device->trouble(), "");
    disk->full = false;
    activate();
    read();
    EXPECT_EQ(answer(), ok);
    EXPECT_EQ(device->counters().writes, 0U);
}

} // namespace
} // namespace aerate
