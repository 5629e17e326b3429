// A whole VM whose memory a page fault handler supplies: it runs, and what becomes of it without the handler.
#include "kvm/testing/tiny_guest.hpp"
#include "machine/testing/counting_vm.hpp"
#include "memory/testing/fault_handler_process.hpp"

#include <gmock/gmock.h>

#include <memory>
#include <thread>

namespace aerate {
namespace {

using testing::CountingVm;
using testing::FaultHandlerProcess;
using ::testing::HasSubstr;

class HandledVm : public testing::WithKvm {
protected:
    void SetUp() override {
        WithKvm::SetUp();
        if (IsSkipped())
            return;
        if (const auto reason = testing::why_no_userfaultfd(); !reason.empty())
            GTEST_SKIP() << "NOT TESTED, this host gives no userfaultfd: " << reason;
        CountingVm vm(vms_.config());
        ASSERT_TRUE(vm.ask(control::InstanceStart{}));
        ASSERT_TRUE(vm.runs());
        ASSERT_TRUE(vm.ask(control::TakeSnapshot{.path = vms_.path("state"), .memory_path = vms_.path("memory")}));
        memory_ = FileDescriptor(::open(vms_.path("memory").c_str(), O_RDONLY | O_CLOEXEC));
        ASSERT_EQ(::pread(memory_.get(), &counted_, sizeof counted_, CountingVm::counter.value), 4);
    }
    [[nodiscard]] control::LoadSnapshot load() const {
        return {.path = vms_.path("state"), .fault_handler = vms_.path("socket"), .resume = true};
    }

    testing::CountingVms vms_;
    FileDescriptor memory_;
    std::uint32_t counted_ = 0; ///< in the snapshot
};

TEST_F(HandledVm, GoesOnWithTheMemoryThatItsHandlerHas) {
    const FaultHandlerProcess handler(vms_.path("socket"), memory_.get());
    CountingVm vm({.name = "restored"});
    const auto loaded = vm.ask(load());
    ASSERT_TRUE(loaded) << loaded.error().message;
    EXPECT_TRUE(vm.runs());
    EXPECT_GE(*vm.count(), counted_);
    EXPECT_GT(handler.faults(), 0U);
    // A copy asks for the rest, and holds all of it.
    ASSERT_TRUE(vm.ask(control::TakeSnapshot{.path = vms_.path("again")}));
    CountingVm clone({.name = "clone"});
    ASSERT_TRUE(clone.ask(control::LoadSnapshot{.path = vms_.path("again"), .verify = true, .resume = true}));
    EXPECT_TRUE(clone.runs());
    EXPECT_GE(*clone.count(), counted_);
}

TEST_F(HandledVm, F2_HasCrashedWhenItsHandlerEnds) {
    FaultHandlerProcess handler(vms_.path("socket"), memory_.get());
    CountingVm vm({.name = "restored"});
    ASSERT_TRUE(vm.ask(load()));
    ASSERT_TRUE(vm.runs());
    handler.end();
    ASSERT_TRUE(testing::soon([&] { return vm.status().state == control::VmState::crashed; }));
    EXPECT_THAT(vm.status().reason, HasSubstr("page fault handler"));
    EXPECT_FALSE(vm.ask(control::TakeSnapshot{.path = vms_.path("again")}));
}

TEST_F(HandledVm, F3_EndsWhileItsHandlerSaysNothing) {
    const FaultHandlerProcess handler(vms_.path("socket"), memory_.get());
    CountingVm vm({.name = "restored"});
    ASSERT_TRUE(vm.ask(load()));
    handler.stop();
    GuestMemory& memory = vm.hardware().memory;
    std::thread waits([&] { (void)memory.is_zero(frame_of(GuestAddress{10U << 20})); }); // as a device does
    vm.machine().kill();
    EXPECT_TRUE(vm.turn_until([&] { return vm.ended(); }));
    waits.join();
}

TEST_F(HandledVm, F6_IsAsItWasWhenThereIsNoHandler) {
    CountingVm vm({.name = "restored"});
    EXPECT_THAT(vm.ask(load()).error().message, HasSubstr("no page fault handler"));
    EXPECT_EQ(vm.status().state, control::VmState::not_started);
    auto from_file = load();
    from_file.fault_handler.clear();
    from_file.memory_path = vms_.path("memory");
    ASSERT_TRUE(vm.ask(from_file));
    EXPECT_TRUE(vm.runs());
}

} // namespace
} // namespace aerate
