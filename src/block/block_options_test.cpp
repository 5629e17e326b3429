// What an operator chooses for a drive: how it is read and written, and whether the guest can flush.
#include "base/testing/temporary_file.hpp"
#include "block/block.hpp"
#include "block/testing/block_wire.hpp"
#include "event/event_fd.hpp"
#include "virtio/testing/fake_driver.hpp"

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <vector>

namespace aerate {
namespace {

using namespace virtio::testing;

/// Carries nothing out, and notes what it is asked.
class NotingEngine final : public IoEngine {
public:
    explicit NotingEngine(std::vector<IoOperation::Kind>& asked)
        : asked_(asked)
        , ready_(*EventFd::create()) {}
    void submit(const IoOperation& operation, std::uint64_t) override { asked_.push_back(operation.kind); }
    bool flush() override { return true; }
    std::optional<IoCompletion> take_completion() override { return std::nullopt; }
    int completion_fd() const override { return ready_.fd(); }
    void acknowledge() override {}
    void abandon() override {}

private:
    std::vector<IoOperation::Kind>& asked_;
    EventFd ready_;
};

constexpr unsigned flush_feature = 9;

/// How a write goes to the disk when the driver takes only these features.
IoOperation::Kind kind_of_a_write(bool offer_flush, bool take_flush) {
    EventLoop loop;
    FakeDriver fake;
    FakeHost host;
    const TemporaryFile file(65536);
    std::vector<IoOperation::Kind> asked;
    auto image = std::make_shared<const DiskImage>(*DiskImage::open({.path = file.path()}));
    Block block(loop, fake.memory(), std::move(image), std::make_unique<NotingEngine>(asked), "id", offer_flush);
    EXPECT_EQ(block.offered_features().has(flush_feature), offer_flush);
    FakeQueue queue = fake.queue(16, split_ring);
    virtio::Virtqueue* const queues[] = {&queue.device()};
    const auto features = virtio::FeatureSet{split_ring.bits}.with(flush_feature, take_flush);
    block.activate({features, queues, &host});
    queue.add({readable(testing::Header{testing::out, 0, 0}), readable(std::vector<std::byte>(512)), writable(1)});
    block.kicked({0});
    EXPECT_EQ(asked.size(), 1U);
    return asked.empty() ? IoOperation::Kind::read : asked.front();
}

TEST(BlockOptions, C7_UnsafeOffersNoFlushAndForcesNoWrite) {
    EXPECT_EQ(kind_of_a_write(true, true), IoOperation::Kind::write);
    EXPECT_EQ(kind_of_a_write(true, false), IoOperation::Kind::write_through) << "it declined what it was offered";
    EXPECT_EQ(kind_of_a_write(false, false), IoOperation::Kind::write);
}

TEST(BlockOptions, C7_TheEngineIsTheOneThatWasAskedFor) {
    const TemporaryFile file(65536);
    const auto completes_at_once = [&](IoEngineKind kind) {
        auto engine = make_io_engine(kind, file.fd(), 4);
        EXPECT_TRUE(engine);
        (*engine)->submit({.kind = IoOperation::Kind::synchronise}, 1);
        const bool at_once = (*engine)->take_completion().has_value();
        (*engine)->abandon();
        return at_once;
    };
    EXPECT_TRUE(completes_at_once(IoEngineKind::blocking));
    if (!make_io_uring_engine(file.fd(), 4))
        GTEST_SKIP() << "this host has no io_uring for us";
    EXPECT_FALSE(completes_at_once(IoEngineKind::io_uring));
}

TEST(BlockOptions, ALimiterLetsThroughWhatItMayAndThenWaits) {
    EventLoop loop;
    FakeDriver fake;
    FakeHost host;
    const TemporaryFile file(65536);
    std::vector<IoOperation::Kind> asked;
    auto image = std::make_shared<const DiskImage>(*DiskImage::open({.path = file.path()}));
    const protocol::RateLimits limits{
        .bandwidth = protocol::TokenBucketLimit{1024, 0, std::chrono::minutes(1)},
        .operations = protocol::TokenBucketLimit{3, 0, std::chrono::minutes(1)},
    };
    Block block(loop, fake.memory(), image, std::make_unique<NotingEngine>(asked), "id", true, limits);
    FakeQueue queue = fake.queue(16, split_ring);
    virtio::Virtqueue* const queues[] = {&queue.device()};
    block.activate({split_ring.with(flush_feature), queues, &host});
    const auto write = [&] {
        queue.add({readable(testing::Header{testing::out, 0, 0}), readable(std::vector<std::byte>(512)), writable(1)});
    };
    write();
    write();
    write();
    queue.add({readable(testing::Header{testing::flush, 0, 0}), writable(1)});
    block.kicked({0});
    EXPECT_EQ(asked.size(), 2U) << "the third write is more than the bucket has, and what follows waits behind it";
    EXPECT_EQ(queue.device().in_flight(), 2);
    EXPECT_EQ(queue.device().available(), 2);
    EXPECT_TRUE(host.kicks_again.empty());
    block.kicked({0});
    EXPECT_EQ(asked.size(), 2U);

    // As it is saved it is restored: the bucket is empty still.
    const auto saved = block.save();
    EXPECT_EQ(saved.version, 2U);
    Block restored(loop, fake.memory(), image, std::make_unique<NotingEngine>(asked), "id", true, limits);
    ASSERT_TRUE(restored.restore(saved));
    EXPECT_EQ(restored.save().bytes.size(), saved.bytes.size());
    EXPECT_FALSE(restored.restore({.version = 2, .bytes = std::vector<std::byte>(9)}));

    // A limit that is lifted lets the rest through, when the pause is over.
    block.change_limits({.bandwidth = protocol::TokenBucketLimit{}});
    for (int i = 0; i < 500 && asked.size() < 3; ++i)
        loop.context().run_for(std::chrono::milliseconds(1));
    EXPECT_EQ(asked.size(), 3U) << "the flush is one operation too many";
    block.reset();
}

} // namespace
} // namespace aerate
