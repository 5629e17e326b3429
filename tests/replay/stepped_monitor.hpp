// A virtual machine with bubble in it, whose monitor does nothing that it is not told: the parts of Hardware that a
// schedule needs, and no more.
#pragma once

#include "base/error.hpp"
#include "bubble_console.hpp"
#include "event/event_fd.hpp"
#include "event/loop_thread.hpp"
#include "kvm/kvm.hpp"
#include "kvm/vm.hpp"
#include "machine/vcpu_thread.hpp"
#include "memory/guest_memory.hpp"
#include "platform/mmio_bus.hpp"
#include "platform/pio_bus.hpp"
#include "stepped_balloon.hpp"
#include "virtio/mmio_transport.hpp"

#include <memory>
#include <semaphore>
#include <string>
#include <string_view>

namespace aerate::replay {

/// Used by one thread, the test's.
class SteppedMonitor {
public:
    /// Boots bubble.
    [[nodiscard]] static Result<std::unique_ptr<SteppedMonitor>> boot(const char* kernel);
    ~SteppedMonitor();
    SteppedMonitor(const SteppedMonitor&) = delete;
    SteppedMonitor& operator=(const SteppedMonitor&) = delete;

    GuestMemory memory;
    Kvm kvm;
    Vm vm;

    /// What the guest answers after its "ok"; any other answer is an error.
    [[nodiscard]] Result<std::string> tell(std::string_view command);
    [[nodiscard]] Result<std::string> ask(std::string_view command) { return console_.command(command); }

    /// Calls `f` with the balloon, on the thread it lives on.
    template <typename F>
    auto with_balloon(F&& f) {
        return loop_.loop().call([&] { return f(balloon_); });
    }

    /// When it returns no vCPU runs.
    [[nodiscard]] Result<> freeze();
    /// When it returns the guest runs, and answers.
    [[nodiscard]] Result<> thaw();

private:
    struct RegisterFile {
        virtio::MmioTransport* transport = nullptr;
        void read(std::uint64_t offset, std::span<std::byte> into) { transport->read(ByteCount{offset}, into); }
        void write(std::uint64_t offset, std::span<const std::byte> from) { transport->write(ByteCount{offset}, from); }
    };

    SteppedMonitor(GuestMemory memory, Kvm kvm, Vm vm, EventFd interrupt);
    Result<> assemble(const char* kernel);

    LoopThread loop_{"monitor"};
    BubbleConsole console_;
    SteppedBalloon balloon_;
    EventFd interrupt_;
    std::unique_ptr<virtio::MmioTransport> transport_;
    RegisterFile registers_;
    PioBus ports_;
    MmioBus mmio_;
    std::binary_semaphore paused_{0};
    std::binary_semaphore left_{0};
    bool frozen_ = false;
    protocol::OrderNumber order_; ///< the last one that the vCPU was given
    std::unique_ptr<VcpuThread> vcpu_;
};

} // namespace aerate::replay
