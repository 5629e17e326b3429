#include "kvm/testing/tiny_guest.hpp"
#include "machine/vcpu_thread.hpp"

#include <array>
#include <chrono>
#include <future>

namespace aerate {
namespace {

using namespace std::chrono_literals;

class VcpuThreads : public testing::WithKvm {};

/// Batches of a sweep, and an impatient caller, let a vCPU go and stop it again before its thread has woken.
TEST_F(VcpuThreads, EveryPauseIsAnsweredHoweverSoonAfterAResume) {
    constexpr std::array<std::uint8_t, 2> endless{0xeb, 0xfe}; // jmp to itself
    auto guest = testing::TinyGuest::create(endless);
    ASSERT_TRUE(guest) << guest.error().message;
    const PioBus ports;
    const MmioBus mmio;
    EventLoop loop;
    constexpr int pauses = 300;
    int answered = 0;
    std::unique_ptr<VcpuThread> thread;
    protocol::OrderNumber order;
    const auto pause_again = [&](protocol::OrderNumber number) {
        EXPECT_EQ(number, order) << "the answer says which order it answers";
        if (++answered == pauses)
            return thread->stop();
        thread->resume({++order.value});
        thread->pause({++order.value});
    };
    thread = std::make_unique<VcpuThread>(
        std::move(guest->vcpus.front()), ports, mmio,
        VcpuThread::Hooks{
            .loop = &loop, .paused = pause_again, .ended = [](GuestEnd) {}, .left = [&] { loop.stop(); }});
    const Subscription limit = loop.after(20s, [&] {
        ADD_FAILURE() << "pause " << answered << " was not answered";
        thread->stop();
    });
    ASSERT_TRUE(thread->start());
    thread->pause({++order.value});
    loop.run();
    EXPECT_EQ(answered, pauses);
}

} // namespace
} // namespace aerate
