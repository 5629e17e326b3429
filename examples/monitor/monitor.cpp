// A monitor's guest memory and balloon, by libaerate-dev. What is missing is the processor: where a vCPU would leave
// the guest with an access to the balloon's registers, this makes the access itself.
#include "balloon/balloon.hpp"
#include "event/event_fd.hpp"
#include "event/loop_thread.hpp"
#include "memory/guest_memory.hpp"
#include "virtio/mmio_registers.hpp"
#include "virtio/mmio_transport.hpp"

#include <cstdio>

using namespace aerate;
using namespace aerate::literals;

Result<> run() {
    auto memory = TRY(GuestMemory::create({.regions = {{GuestAddress{0}, 256_MiB}}}));
    LoopThread thread("balloon"); // discards can take milliseconds, and hold up nothing else there
    TRY(thread.start());
    const auto balloon = TRY(balloon::Balloon::create({.free_page_reporting = true}, memory, thread.loop()));
    const EventFd interrupt = TRY(EventFd::create()); // for KVM: an irqfd
    auto transport = TRY(virtio::MmioTransport::create(*balloon, memory, thread.loop(), interrupt, {}));

    TRY(thread.loop().call([&] { return balloon->set_target(whole_pages_of(64_MiB)); }));
    std::array<std::byte, 4> device{};
    std::array<std::byte, 4> pages{};
    transport->read(ByteCount{virtio::mmio_register::device_id}, device);
    transport->read(ByteCount{virtio::mmio_register::config}, pages);

    const GuestAddress address{1 << 20};
    if (!memory.fill(address, 16_MiB, std::byte{1}))
        return fail("that is no RAM");
    const ByteCount filled = memory.resident();
    const std::array free{PageRange{frame_of(address), whole_pages_of(16_MiB)}};
    memory.discard(free); // what the balloon does for the pages that a guest reports
    std::printf("device %u, %zu pages wanted, resident %zu KiB, then %zu KiB\n", std::to_integer<unsigned>(device[0]),
                std::to_integer<std::size_t>(pages[1]) << 8, filled.value >> 10, memory.resident().value >> 10);
    thread.stop(); // the transport belongs to the loop's thread as long as that runs
    return {};
}

int main() {
    const auto done = run();
    return done ? 0 : (std::fprintf(stderr, "monitor: %s\n", done.error().message.c_str()), 1);
}
