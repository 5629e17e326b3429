// A fixture of tests: a disk on each engine and each ring, and a guest that drives it.
#pragma once

#include "base/testing/temporary_file.hpp"
#include "block/block.hpp"
#include "block/testing/unkind_engine.hpp"
#include "virtio/testing/fake_driver.hpp"

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <utility>

namespace aerate::testing {

using namespace std::chrono_literals;
using namespace virtio::testing;

enum class Engine { io_uring, blocking, unkind };

struct Setup {
    Engine engine;
    virtio::FeatureSet ring;
    bool clones = false; ///< the file system of a private disk does
};

class BlockTest : public ::testing::TestWithParam<Setup> {
protected:
    static constexpr std::uint64_t sectors = 256;
    static constexpr std::uint16_t queue_size = 64;

    void SetUp() override { make({}); }

    void make(DiskOptions options) {
        device.reset();
        options.path = file.path();
        auto image = DiskImage::open(options);
        ASSERT_TRUE(image) << image.error().message;
        auto engine = make_engine(image->fd());
        if (!engine)
            GTEST_SKIP() << engine.error().message;
        device = std::make_unique<Block>(loop, fake.memory(), std::make_shared<DiskImage>(std::move(*image)),
                                         std::move(*engine), "serial-number");
        features = virtio::FeatureSet{device->offered_features().bits | GetParam().ring.bits};
        activate();
    }
    void activate() {
        queue.emplace(fake.queue(queue_size, GetParam().ring));
        virtio::Virtqueue* const queues[] = {&queue->device()};
        device->activate({features, queues, &host});
    }
    Result<std::unique_ptr<IoEngine>> make_engine(int fd) {
        switch (GetParam().engine) {
        case Engine::io_uring:
            return make_io_uring_engine(fd, Block::queue_size);
        case Engine::blocking:
            return make_blocking_engine(fd);
        case Engine::unkind:
            break;
        }
        auto made = std::make_unique<UnkindEngine>(fd, 5);
        unkind = made.get();
        return std::unique_ptr<IoEngine>(std::move(made));
    }

    void kick() { device->kicked({0}); }
    std::optional<FakeUsed> wait_used() {
        for (int i = 0; i < 5000; ++i) {
            if (auto used = queue->take_used())
                return used;
            loop.context().run_for(1ms);
        }
        return std::nullopt;
    }
    /// Runs one request to its end; the status byte.
    std::byte request(std::initializer_list<FakeBuffer> chain) {
        queue->add(chain);
        kick();
        const auto used = wait_used();
        EXPECT_TRUE(used);
        last = used.value_or(FakeUsed{});
        return last.bytes.empty() ? std::byte{0xee} : last.bytes.back();
    }

    EventLoop loop;
    FakeDriver fake;
    FakeHost host;
    TemporaryFile file{sectors * 512};
    std::unique_ptr<Block> device;
    std::optional<FakeQueue> queue;
    UnkindEngine* unkind = nullptr;
    virtio::FeatureSet features;
    FakeUsed last;
};

} // namespace aerate::testing
