// What holds for every device, tried on those that ship, behind the transport that ships.
#include "base/testing/temporary_directory.hpp"
#include "base/testing/temporary_file.hpp"
#include "block/block.hpp"
#include "block/testing/unkind_engine.hpp"
#include "control/vm_config.hpp"
#include "machine/device_table.hpp"
#include "machine/testing/minimal_device.hpp"
#include "virtio/mmio_transport.hpp"
#include "virtio/testing/echo_device.hpp"
#include "virtio/testing/fake_driver.hpp"
#include "virtio/testing/register_driver.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <sys/socket.h>

#include <array>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace aerate {
namespace {

using namespace virtio::testing;

/// A configuration that has one of everything.
control::VmConfig everything(const TemporaryFile& disk, const FileDescriptor& peer,
                             const TemporaryDirectory& directory) {
    control::VmConfig config;
    config.balloon.emplace();
    config.drives.push_back({.drive_id = "disk", .path_on_host = disk.path()});
    config.entropy.emplace();
    config.network_interfaces.push_back({.iface_id = "eth0", .fd = static_cast<std::uint32_t>(peer.get())});
    config.vsock = {.guest_cid = 3, .uds_path = directory / "v.sock"};
    return config;
}

constexpr DeviceKind echo_kind{"echo", [](const DevicePlace& place) -> Result<std::vector<MadeDevice>> {
                                   std::vector<MadeDevice> made;
                                   made.push_back({std::make_unique<EchoDevice>(place.memory), &place.main_loop});
                                   return made;
                               }};

/// All that ship, and the doubles of the tests.
std::vector<DeviceKind> all_kinds() {
    std::vector<DeviceKind> kinds(device_kinds().begin(), device_kinds().end());
    kinds.push_back(echo_kind);
    kinds.push_back(testing::minimal_kind);
    return kinds;
}

/// A driver and its device; the test's thread is a vCPU, the loop runs on another.
class DeviceRules : public ::testing::TestWithParam<DeviceKind> {
protected:
    template <typename F>
    auto on_loop(F f) {
        return loop_.call(f);
    }
    ~DeviceRules() override {
        if (!thread_.joinable())
            return;
        on_loop([&] { transport_.reset(); });
        loop_.stop();
        thread_.join();
    }
    void start_device(std::unique_ptr<virtio::Device> device) {
        device_ = std::move(device);
        transport_ = virtio::MmioTransport::create(*device_, fake_.memory(), loop_, interrupt_, {}).value();
        thread_ = std::thread([this] { loop_.run(); });
    }
    RegisterDriver driver() { return {*transport_, fake_}; }
    void reset() { driver().reset(); }
    FakeQueue start_driver() { return driver().start(served_); }
    /// Each device returns each chain, also one that makes no sense to it.
    void kick(FakeQueue& queue) {
        queue.add({readable(std::uint32_t{0x10'0000}), writable(16)});
        driver().kick(served_);
    }
    /// Returns once the loop has done what was ready before, and what that led to.
    void settle() {
        for (int i = 0; i < 4; ++i) {
            std::promise<void> done;
            on_loop([&] { loop_.post([&] { done.set_value(); }); });
            done.get_future().wait();
        }
    }
    bool serves(FakeQueue& queue) {
        kick(queue);
        settle();
        return queue.take_used().has_value();
    }
    /// Until the device's interrupt; a disk takes its time.
    bool wait_used(FakeQueue& queue) {
        while (!queue.take_used()) {
            pollfd interrupt{.fd = interrupt_.fd(), .events = POLLIN, .revents = 0};
            if (::poll(&interrupt, 1, 10'000) != 1)
                return false;
            (void)interrupt_.drain();
        }
        return true;
    }
    bool pause() {
        bool quiet = false;
        on_loop([&] { transport_->pause([&] { quiet = true; }); });
        return quiet;
    }
    void resume() {
        on_loop([&] { transport_->resume(); });
    }

    FakeDriver fake_;
    virtio::QueueIndex served_{0}; ///< one from which the device takes whatever comes
    EventLoop loop_;
    EventFd interrupt_ = EventFd::create().value();
    std::unique_ptr<virtio::Device> device_;
    std::unique_ptr<virtio::MmioTransport> transport_;
    std::thread thread_;
};

class EveryDevice : public DeviceRules {
protected:
    void SetUp() override {
        std::array<int, 2> ends{};
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
        const FileDescriptor card(ends[0]);
        peer_ = FileDescriptor(ends[1]);
        const auto config = everything(disk_, card, directory_);
        // The first of a vsock is for packets to the guest, and stays as it is until there is one.
        served_ = {static_cast<std::uint16_t>(GetParam().name == "vsock" ? 1 : 0)};
        const auto files = HostFiles::open(config).value();
        auto made = GetParam()
                        .make({.config = config,
                               .files = *files,
                               .memory = fake_.memory(),
                               .main_loop = loop_,
                               .balloon_loop = loop_,
                               .net_loop = loop_})
                        .value();
        ASSERT_EQ(made.size(), 1U) << "the configuration of this test has no such device: add it";
        EXPECT_TRUE(made[0].device->name().starts_with(GetParam().name));
        start_device(std::move(made[0].device));
    }
    TemporaryFile disk_{1U << 20};
    FileDescriptor peer_; ///< of the network card
    TemporaryDirectory directory_;
};

INSTANTIATE_TEST_SUITE_P(Shipping, EveryDevice, ::testing::ValuesIn(all_kinds()),
                         [](const auto& instance) { return std::string(instance.param.name); });

TEST_P(EveryDevice, C2_ServesAgainAfterPauseAndResume) {
    FakeQueue queue = start_driver();
    EXPECT_TRUE(serves(queue));
    EXPECT_TRUE(pause());
    EXPECT_FALSE(serves(queue));
    resume();
    settle();
    EXPECT_TRUE(queue.take_used()) << "what was added while it rested";
    EXPECT_TRUE(serves(queue));
}

TEST_P(EveryDevice, C2_AResetWhileItRestsDoesNotOutliveResume) {
    start_driver();
    EXPECT_TRUE(pause());
    reset();
    resume();
    FakeQueue queue = start_driver();
    EXPECT_TRUE(serves(queue));
}

TEST_P(EveryDevice, C2_ADriverThatStartsAnewWhileItRestsIsServedAfterResume) {
    start_driver();
    EXPECT_TRUE(pause());
    FakeQueue queue = start_driver();
    EXPECT_FALSE(serves(queue));
    resume();
    settle();
    EXPECT_TRUE(queue.take_used());
    EXPECT_TRUE(serves(queue));
}

TEST_P(EveryDevice, C2_PauseBeforeTheDriverHoldsFromItsStart) {
    EXPECT_TRUE(pause());
    FakeQueue queue = start_driver();
    EXPECT_FALSE(serves(queue));
    resume();
    settle();
    EXPECT_TRUE(queue.take_used());
}

TEST_P(EveryDevice, C2_ResumeIsLegalAtAnyTime) {
    resume();
    FakeQueue queue = start_driver();
    resume();
    EXPECT_TRUE(serves(queue));
    EXPECT_TRUE(pause());
    EXPECT_TRUE(pause()) << "once more";
    resume();
    resume();
    EXPECT_TRUE(serves(queue));
}

/// A disk that does not come to rest until it is told to.
class SlowDevice : public DeviceRules {
protected:
    void SetUp() override {
        auto image = std::make_shared<const DiskImage>(DiskImage::open({.path = file_.path()}).value());
        auto engine = std::make_unique<testing::UnkindEngine>(image->fd(), 5);
        engine_ = engine.get();
        engine_->stalled = true;
        start_device(std::make_unique<Block>(loop_, fake_.memory(), std::move(image), std::move(engine), "disk"));
    }
    /// A read of sector 0.
    void read(FakeQueue& queue) {
        queue.add({readable(std::array<std::byte, 16>{}), writable(512), writable(1)});
        driver().kick();
        settle();
        ASSERT_EQ(on_loop([&] { return engine_->held(); }), 1U);
    }
    void release_disk() {
        on_loop([&] { engine_->release(); });
    }

    TemporaryFile file_{1U << 20};
    testing::UnkindEngine* engine_ = nullptr;
};

INSTANTIATE_TEST_SUITE_P(Disk, SlowDevice, ::testing::Values(DeviceKind{"block", nullptr}),
                         [](const auto& instance) { return std::string(instance.param.name); });

TEST_P(SlowDevice, C2_AResetCompletesAPauseThatIsUnderWay) {
    FakeQueue queue = start_driver();
    read(queue);
    bool quiet = false;
    on_loop([&] { transport_->pause([&] { quiet = true; }); });
    EXPECT_FALSE(quiet);
    reset();
    EXPECT_TRUE(quiet);
    EXPECT_TRUE(on_loop([&] { return device_->paused(); })) << "it rests on";
    resume();
    release_disk();
    FakeQueue again = start_driver();
    EXPECT_TRUE(serves(again));
}

TEST_P(SlowDevice, C2_ResumeBeforeItRestsCallsThePauseOff) {
    FakeQueue queue = start_driver();
    read(queue);
    bool quiet = false;
    on_loop([&] { transport_->pause([&] { quiet = true; }); });
    resume();
    release_disk();
    kick(queue);
    EXPECT_TRUE(wait_used(queue));
    EXPECT_TRUE(wait_used(queue));
    EXPECT_FALSE(quiet) << "a pause that was called off completed";
}

} // namespace
} // namespace aerate
