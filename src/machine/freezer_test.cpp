// The freeze carried out: with parts that answer when they are told to, and with a disk that hangs behind the transport
// that ships.
#include "block/block.hpp"
#include "block/testing/block_wire.hpp"
#include "block/testing/held_engine.hpp"
#include "entropy/entropy.hpp"
#include "machine/freezer.hpp"
#include "virtio/mmio_registers.hpp"
#include "virtio/mmio_transport.hpp"
#include "virtio/testing/fake_driver.hpp"

#include <boost/asio/io_context.hpp>
#include <gmock/gmock.h>

#include <sys/mman.h>

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace aerate {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Claimant = Freezer::Claimant;

/// Notes each order, and answers when the test says so.
struct Parts {
    std::vector<std::string> orders;
    protocol::OrderNumber last;

    [[nodiscard]] Freezer::Part part(const std::string& name) {
        return {name,
                [this, name](protocol::OrderNumber order) {
                    orders.push_back("pause " + name);
                    last = order;
                },
                [this, name](protocol::OrderNumber order) {
                    orders.push_back("resume " + name);
                    last = order;
                }};
    }
    [[nodiscard]] Freezer::Guest guest() {
        return {.devices = {part("block:rootfs"), part("entropy")}, .vcpus = {part("vcpu0"), part("vcpu1")}};
    }
    [[nodiscard]] std::vector<std::string> take_orders() { return std::exchange(orders, {}); }
};

/// What a claimant was told.
struct Answers {
    EventLoop& loop;
    std::vector<std::string> said = {};
    [[nodiscard]] Freezer::Held held() {
        return [this](const Result<>& result) {
            said.push_back(result ? "rests" : result.error().message);
            loop.stop();
        };
    }
};

class Freezing : public ::testing::Test {
protected:
    /// All that is ready, and what that leads to.
    void settle() {
        do
            loop.context().restart();
        while (loop.context().poll() > 0);
    }
    /// Until something in the loop stops it.
    void run() {
        loop.context().restart();
        loop.run();
    }
    void wait_for_an_answer() {
        const Subscription limit = loop.after(20s, [this] {
            ADD_FAILURE() << "nobody was answered";
            loop.stop();
        });
        run();
    }
    void begin() {
        freezer.begin_running(parts.guest());
        EXPECT_THAT(parts.take_orders(), ElementsAre("resume vcpu0", "resume vcpu1"));
    }
    void come_to_rest() {
        for (unsigned part = 0; part < 2; ++part)
            freezer.device_rests(part, parts.last);
        for (unsigned part = 0; part < 2; ++part)
            freezer.vcpu_rests(part, parts.last);
    }

    EventLoop loop;
    Parts parts;
    Answers answers{loop};
    Freezer freezer{loop, 20ms};
};

TEST_F(Freezing, C3_StatesSayWhatIsAndNotWhatIsWanted) {
    begin();
    freezer.claim(Claimant::pause, answers.held());
    EXPECT_FALSE(freezer.holds(Claimant::pause));
    EXPECT_TRUE(freezer.waits(Claimant::pause));
    EXPECT_TRUE(freezer.moves());
    EXPECT_FALSE(freezer.runs());
    come_to_rest();
    EXPECT_TRUE(freezer.holds(Claimant::pause));
    EXPECT_FALSE(freezer.moves());
    EXPECT_THAT(answers.said, ElementsAre("rests"));
    EXPECT_THAT(parts.take_orders(), ElementsAre("pause block:rootfs", "pause entropy", "pause vcpu0", "pause vcpu1"));
    freezer.release(Claimant::pause);
    EXPECT_TRUE(freezer.runs());
    EXPECT_THAT(parts.take_orders(),
                ElementsAre("resume block:rootfs", "resume entropy", "resume vcpu0", "resume vcpu1"));
}

TEST_F(Freezing, C3_EachOfSeveralPausesIsAnswered) {
    begin();
    freezer.claim(Claimant::pause, answers.held());
    freezer.claim(Claimant::pause, answers.held());
    come_to_rest();
    freezer.claim(Claimant::pause, answers.held());
    EXPECT_THAT(answers.said, ElementsAre("rests", "rests", "rests"));
    freezer.release(Claimant::pause);
    EXPECT_TRUE(freezer.runs()) << "one operator, one pause";
}

TEST_F(Freezing, C3_AResumeTakesAPauseBackThatIsUnderWay) {
    begin();
    freezer.claim(Claimant::pause, answers.held());
    freezer.device_rests(1, parts.last);
    freezer.release(Claimant::pause);
    EXPECT_THAT(answers.said, ElementsAre(HasSubstr("withdrawn")));
    EXPECT_THAT(parts.take_orders(),
                ElementsAre("pause block:rootfs", "pause entropy", "resume block:rootfs", "resume entropy"));
    freezer.claim(Claimant::pause, answers.held());
    wait_for_an_answer();
    EXPECT_EQ(answers.said.size(), 2U) << "one deadline, the second pause's";
}

TEST_F(Freezing, C20_AnAnswerOfAnOlderOrderIsNotCounted) {
    freezer.begin_at_rest(parts.guest(), Claimant::pause);
    const protocol::OrderNumber first = parts.last;
    freezer.release(Claimant::pause);
    freezer.claim(Claimant::copy, answers.held());
    freezer.device_rests(0, parts.last);
    freezer.device_rests(1, parts.last);
    // The vCPUs' threads get to the order that they began with only now.
    freezer.vcpu_rests(0, first);
    freezer.vcpu_rests(1, first);
    EXPECT_FALSE(freezer.holds(Claimant::copy));
    freezer.vcpu_rests(0, parts.last);
    freezer.vcpu_rests(1, parts.last);
    EXPECT_TRUE(freezer.holds(Claimant::copy));
}

TEST_F(Freezing, C3_AnAnswerMayAskForMore) {
    begin();
    freezer.claim(Claimant::copy, [this](const Result<>& held) {
        EXPECT_FALSE(held);
        freezer.claim(Claimant::copy, answers.held());
    });
    freezer.release(Claimant::copy);
    EXPECT_THAT(answers.said, ElementsAre());
    come_to_rest();
    EXPECT_THAT(answers.said, ElementsAre("rests"));
}

TEST_F(Freezing, C3_ACrashTellsThoseWhoWaitAndThoseWhoCome) {
    begin();
    freezer.claim(Claimant::pause, answers.held());
    freezer.crashed("the guest has crashed: it was a test");
    freezer.claim(Claimant::copy, answers.held());
    EXPECT_THAT(answers.said, ElementsAre(HasSubstr("a test"), HasSubstr("a test")));
    EXPECT_FALSE(freezer.runs());
    come_to_rest();
    EXPECT_EQ(answers.said.size(), 2U);
}

/// A disk and a random number generator behind their transports, and a driver that writes registers as a guest does.
class HangingDisk : public Freezing {
protected:
    struct Slot {
        std::string name;
        EventFd interrupt = *EventFd::create();
        std::unique_ptr<virtio::Device> device;
        std::unique_ptr<virtio::MmioTransport> transport;
        std::optional<virtio::testing::FakeQueue> queue;
    };

    void SetUp() override {
        ASSERT_EQ(::ftruncate(file.get(), 64 << 10), 0);
        auto image = DiskImage::open({.path = "/proc/self/fd/" + std::to_string(file.get())});
        ASSERT_TRUE(image) << image.error().message;
        auto made = std::make_unique<testing::HeldEngine>(image->fd());
        engine = made.get();
        plug(disk, "block:rootfs",
             std::make_unique<Block>(loop, fake.memory(), std::make_shared<DiskImage>(std::move(*image)),
                                     std::move(made), "rootfs"));
        plug(entropy, "entropy", std::make_unique<Entropy>(loop, fake.memory()));
        freezer.begin_running({.devices = {part(disk, 0), part(entropy, 1)}, .vcpus = {parts.part("vcpu0")}});
        EXPECT_THAT(parts.take_orders(), ElementsAre("resume vcpu0"));
    }
    void plug(Slot& slot, std::string name, std::unique_ptr<virtio::Device> device) {
        slot.name = std::move(name);
        slot.device = std::move(device);
        slot.transport = *virtio::MmioTransport::create(*slot.device, fake.memory(), loop, slot.interrupt, {});
        drive(slot);
    }
    void write(Slot& slot, std::uint32_t offset, std::uint32_t value) {
        loop.post([&] {
            slot.transport->write(ByteCount{offset}, std::as_bytes(std::span(&value, 1)));
            loop.stop();
        });
        run();
    }
    void drive(Slot& slot) {
        namespace reg = virtio::mmio_register;
        const auto version = virtio::FeatureSet{}.with(virtio::feature::version_1);
        slot.queue.emplace(fake.queue(64, version));
        const virtio::QueueRegisters at = slot.queue->registers();
        write(slot, reg::status, 0);
        write(slot, reg::status, 3);
        write(slot, reg::driver_features_select, 1);
        write(slot, reg::driver_features, static_cast<std::uint32_t>(version.bits >> 32));
        write(slot, reg::status, 11);
        write(slot, reg::queue_select, 0);
        write(slot, reg::queue_size, 64);
        for (const auto& [low, high, address] :
             {std::tuple{reg::queue_descriptors_low, reg::queue_descriptors_high, at.descriptors},
              {reg::queue_driver_low, reg::queue_driver_high, at.driver},
              {reg::queue_device_low, reg::queue_device_high, at.device}}) {
            write(slot, low, static_cast<std::uint32_t>(address.value));
            write(slot, high, static_cast<std::uint32_t>(address.value >> 32));
        }
        write(slot, reg::queue_ready, 1);
        write(slot, reg::status, 15);
    }
    Freezer::Part part(Slot& slot, unsigned index) {
        return {slot.name,
                [this, &slot, index](protocol::OrderNumber order) {
                    slot.transport->pause([this, index, order] { freezer.device_rests(index, order); });
                },
                [&slot](protocol::OrderNumber) { slot.transport->resume(); }};
    }
    void read_disk() {
        disk.queue->add({virtio::testing::readable(testing::Header{testing::in, 0, 0}),
                         virtio::testing::writable_at(fake.allocate({512}), 512),
                         virtio::testing::writable_at(fake.allocate({1}), 1)});
        disk.transport->kick({0}).signal();
        settle();
    }
    [[nodiscard]] bool entropy_answers() {
        entropy.queue->add({virtio::testing::writable(16)});
        entropy.transport->kick({0}).signal();
        settle();
        return entropy.queue->take_used().has_value();
    }
    [[nodiscard]] bool disk_answers() {
        settle();
        return disk.queue->take_used().has_value();
    }

    FileDescriptor file{::memfd_create("disk", MFD_CLOEXEC)};
    virtio::testing::FakeDriver fake;
    Slot disk;
    Slot entropy;
    testing::HeldEngine* engine = nullptr;
};

TEST_F(HangingDisk, C3_APauseFailsByTheDisksNameAndTheGuestRunsOn) {
    read_disk();
    freezer.claim(Claimant::pause, answers.held());
    EXPECT_FALSE(entropy_answers()) << "the other device is at rest";
    wait_for_an_answer();
    EXPECT_THAT(answers.said, ElementsAre(HasSubstr("did not come to rest")));
    EXPECT_THAT(answers.said, ElementsAre(HasSubstr("block:rootfs")));
    EXPECT_THAT(answers.said, ElementsAre(::testing::Not(HasSubstr("entropy"))));
    EXPECT_TRUE(freezer.runs());
    EXPECT_THAT(parts.take_orders(), ElementsAre()) << "no vCPU has ever stopped";
    settle();
    EXPECT_TRUE(entropy.queue->take_used()) << "what came meanwhile is served";
    EXPECT_TRUE(entropy_answers());

    engine->release();
    EXPECT_TRUE(disk_answers());
    freezer.claim(Claimant::pause, answers.held());
    freezer.vcpu_rests(0, parts.last);
    EXPECT_EQ(answers.said.back(), "rests") << "a later pause works";
    freezer.release(Claimant::pause);
    read_disk();
    EXPECT_TRUE(disk_answers());
}

TEST_F(HangingDisk, C20_ADiskThatComesToRestAfterTheDeadlineIsNotCountedByTheNextPause) {
    read_disk();
    freezer.claim(Claimant::pause, answers.held());
    wait_for_an_answer();
    ASSERT_EQ(answers.said.size(), 1U);
    engine->release();
    EXPECT_TRUE(disk_answers());
    EXPECT_TRUE(freezer.runs());
    engine->hold();
    read_disk();
    freezer.claim(Claimant::pause, answers.held());
    settle();
    EXPECT_TRUE(parts.take_orders().empty()) << "the disk holds a buffer: vCPUs are not told to stop";
    engine->release();
    settle();
    EXPECT_THAT(parts.take_orders(), ElementsAre("pause vcpu0"));
}

/// The guest gives its disk up, which rests by that, and drives it anew before its vCPU has stopped.
TEST_F(HangingDisk, C3_AGuestsResetOfTheDiskLetsThePauseThrough) {
    read_disk();
    freezer.claim(Claimant::pause, answers.held());
    write(disk, virtio::mmio_register::status, 0);
    settle();
    engine->release();
    drive(disk);
    freezer.vcpu_rests(0, parts.last);
    EXPECT_THAT(answers.said, ElementsAre("rests"));
    freezer.release(Claimant::pause);
    read_disk();
    EXPECT_TRUE(disk_answers());
}

} // namespace
} // namespace aerate
