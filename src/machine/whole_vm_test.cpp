// A whole VM: what it says of itself, and what a copy of its guest that comes to nothing leaves behind.
#include "kvm/testing/tiny_guest.hpp"
#include "machine/testing/counting_vm.hpp"

#include <gmock/gmock.h>

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>

namespace aerate {
namespace {

using control::VmState;
using ::testing::HasSubstr;

class AWholeVm : public testing::WithKvm {
protected:
    void SetUp() override {
        WithKvm::SetUp();
        if (IsSkipped())
            return;
        vm_.emplace(vms_.whole_config());
        ASSERT_TRUE(vm_->ask(control::InstanceStart{}));
        ASSERT_TRUE(vm_->runs());
    }
    VmState shown() {
        const control::Reply reply = vm_->reply_to(control::GetInstance{});
        return std::get<control::Instance>(reply).state;
    }

    testing::CountingVms vms_;
    std::optional<testing::CountingVm> vm_;
};

/// A disk that is full, say.
class Waiting final : public virtio::Device {
public:
    Waiting()
        : Device("waiting") {}
    [[nodiscard]] virtio::DeviceType type() const override { return virtio::DeviceType::console; }
    [[nodiscard]] std::span<const std::uint16_t> queue_sizes() const override { return sizes; }
    [[nodiscard]] std::string trouble() const override { return what; }
    std::string what;

private:
    std::expected<bool, virtio::RingFault> serve(virtio::QueueIndex, virtio::Virtqueue&) override { return false; }
    static constexpr std::array<std::uint16_t, 1> sizes{64};
};

TEST_F(AWholeVm, C15_SaysWhatItWaitsForAndGoesBackByItself) {
    auto made = std::make_unique<Waiting>();
    Waiting& device = *made;
    ASSERT_TRUE(add_slot(vm_->hardware().slots, {std::move(made), &vm_->loop()}, vm_->hardware().memory));
    EXPECT_EQ(shown(), VmState::running);
    device.what = "drive root: No space left on device";
    EXPECT_EQ(shown(), VmState::waiting);
    const auto status = vm_->status();
    EXPECT_EQ(status.state, VmState::waiting);
    EXPECT_EQ(status.reason, device.what);
    const control::Reply reply = vm_->reply_to(control::GetMetrics{});
    EXPECT_EQ(std::get<control::Metrics>(reply).status.state, VmState::waiting);
    EXPECT_TRUE(vm_->runs()) << "what does not need it goes on";
    EXPECT_TRUE(vm_->ask(control::SetPaused{.paused = true}));
    EXPECT_EQ(shown(), VmState::paused);
    EXPECT_TRUE(vm_->ask(control::SetPaused{}));
    device.what.clear();
    EXPECT_EQ(shown(), VmState::running);
    EXPECT_EQ(vm_->status().reason, "");
}

TEST_F(AWholeVm, C27_KeepsNoTrackOfWhatItsGuestWritesAfterASnapshotThatFailed) {
    EXPECT_FALSE(vm_->ask(control::TakeSnapshot{.path = "/nonexistent/directory/file", .track_dirty_pages = true}));
    EXPECT_FALSE(vm_->machine().config().machine.track_dirty_pages);
    EXPECT_FALSE(vm_->hardware().diff_bases().one_file.tracks());
    EXPECT_TRUE(vm_->ask(control::TakeSnapshot{.path = vms_.path("first"), .track_dirty_pages = true}));
    EXPECT_TRUE(vm_->machine().config().machine.track_dirty_pages);
    // One that was tracked before stays so: the next diff is of the last snapshot that was taken.
    EXPECT_FALSE(vm_->ask(control::TakeSnapshot{.path = "/nonexistent/directory/file", .diff = true}));
    EXPECT_TRUE(vm_->hardware().diff_bases().one_file.tracks());
    EXPECT_TRUE(vm_->ask(control::TakeSnapshot{.path = vms_.path("second"), .diff = true}));
}

/// There is one command ID: the first round of a sweep would end an operator's without a word.
TEST_F(AWholeVm, C27_IsNotSweptWhileAnOperatorsHintRoundIsUnderWay) {
    vm_->drive_balloon();
    for (const control::Request& request :
         {control::Request(control::TakeSnapshot{.path = vms_.path("swept"), .sweep = true}),
          control::Request(control::Migrate{.destination = "unix:/nonexistent", .sweep = true}),
          control::Request(control::Sweep{})}) {
        std::optional<control::Reply> started;
        vm_->machine().handle(control::StartHinting{}, [&](control::Reply reply) { started = std::move(reply); });
        // Before the guest has begun, let alone ended, its round.
        const auto answer = vm_->ask(request);
        ASSERT_FALSE(answer);
        EXPECT_THAT(answer.error().message, HasSubstr("a round of free page hinting is under way"));
        ASSERT_TRUE(vm_->turn_until([&] { return started.has_value(); }));
        EXPECT_TRUE(std::holds_alternative<control::Done>(*started));
        EXPECT_TRUE(vm_->ask(control::StopHinting{}));
    }
    EXPECT_TRUE(vm_->ask(control::TakeSnapshot{.path = vms_.path("swept"), .sweep = true}));
}

} // namespace
} // namespace aerate
