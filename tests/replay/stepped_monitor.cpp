#include "stepped_monitor.hpp"

#include "base/check.hpp"
#include "boot/kernel_image.hpp"
#include "boot/memory_layout.hpp"

#include <chrono>
#include <utility>

namespace aerate::replay {
namespace {

constexpr ByteCount ram_size{64ULL << 20};
constexpr std::chrono::seconds pause_limit{20};

} // namespace

SteppedMonitor::SteppedMonitor(GuestMemory m, Kvm k, Vm v, EventFd interrupt)
    : memory(std::move(m))
    , kvm(std::move(k))
    , vm(std::move(v))
    , balloon_(memory, loop_.loop())
    , interrupt_(std::move(interrupt)) {}

SteppedMonitor::~SteppedMonitor() {
    if (vcpu_) {
        vcpu_->stop();
        left_.acquire();
    }
    loop_.stop();
    vcpu_.reset();
    transport_.reset();
}

Result<std::unique_ptr<SteppedMonitor>> SteppedMonitor::boot(const char* kernel) {
    auto kvm = TRY(Kvm::open());
    auto memory = TRY(GuestMemory::create({TRY(ram_regions(ram_size)), Backing::anonymous}));
    auto vm = TRY(Vm::create(kvm, 1));
    auto interrupt = TRY(EventFd::create());
    auto monitor = std::unique_ptr<SteppedMonitor>(
        new SteppedMonitor(std::move(memory), std::move(kvm), std::move(vm), std::move(interrupt)));
    TRY(monitor->assemble(kernel));
    for (std::string line; line != "BUBBLE-READY";)
        line = TRY(monitor->console_.next_line());
    return monitor;
}

Result<> SteppedMonitor::assemble(const char* kernel) {
    TRY(vm.map(memory.regions()));
    CHECK(ports_.add(BubbleConsole::first_port, BubbleConsole::port_count, console_));
    // Neither the interrupt nor kicks are connected: bubble polls, and the balloon looks when it is told.
    transport_ = TRY(virtio::MmioTransport::create(balloon_, memory, loop_.loop(), interrupt_, {}));
    registers_.transport = transport_.get();
    CHECK(mmio_.add(virtio_mmio_device(0).base, layout::virtio_mmio_stride.value, registers_));

    const BootFile image = TRY(BootFile::open(kernel, "kernel image"));
    const LoadedKernel loaded =
        TRY(load_kernel(memory, {.kernel = &image, .initrd = nullptr, .command_line = "bubble.script=serial"}));
    auto vcpu = TRY(vm.create_vcpu(0));
    TRY(vcpu->enter(ProtectedModeEntry{loaded.instruction, loaded.boot_data}));
    vcpu_ = std::make_unique<VcpuThread>(
        std::move(vcpu), ports_, mmio_,
        VcpuThread::Hooks{.loop = &loop_.loop(),
                          .paused = [this](protocol::OrderNumber) { paused_.release(); },
                          .ended = [this](const GuestEnd& end) { console_.hang_up("it ended: " + end.reason); },
                          .left = [this] { left_.release(); }});
    TRY(loop_.start());
    TRY(vcpu_->start());
    vcpu_->resume({++order_.value});
    return {};
}

Result<std::string> SteppedMonitor::tell(std::string_view command) {
    std::string reply = TRY(ask(command));
    if (!reply.starts_with("ok"))
        return fail("\"{}\": the guest answers \"{}\"", command, reply);
    reply.erase(0, reply.find_first_not_of(' ', 2));
    return reply;
}

Result<> SteppedMonitor::freeze() {
    if (std::exchange(frozen_, true))
        return {};
    vcpu_->pause({++order_.value});
    if (!paused_.try_acquire_for(pause_limit))
        return fail("the vCPU does not pause");
    return {};
}

Result<> SteppedMonitor::thaw() {
    if (!std::exchange(frozen_, false))
        return {};
    vcpu_->resume({++order_.value});
    return {};
}

} // namespace aerate::replay
