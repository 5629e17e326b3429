#include "machine/hardware.hpp"

#include "base/check.hpp"
#include "boot/acpi.hpp"
#include "kvm/dirty_log.hpp"
#include "virtio/mmio_registers.hpp"

#include <unistd.h>

namespace aerate {
namespace {

[[nodiscard]] Result<OutputSink> open_sink(const ConsoleOptions& options) {
    switch (options.kind) {
    case ConsoleOptions::Kind::stdio:
        return OutputSink::duplicate(STDOUT_FILENO);
    case ConsoleOptions::Kind::file:
        return OutputSink::open_file(options.path.c_str());
    case ConsoleOptions::Kind::none:
        break;
    }
    return OutputSink{};
}

constexpr PowerPorts power_ports{.reset = {layout::reset_port},
                                 .reset_value = layout::reset_value,
                                 .sleep_control = {layout::sleep_control_port},
                                 .sleep_control_off = layout::sleep_control_power_off,
                                 .sleep_status = {layout::sleep_status_port}};

} // namespace

Hardware::Hardware(GuestMemory m, Kvm kvm, Vm vm, EventLoop& loop, Callbacks callbacks)
    : memory(std::move(m))
    , counted_hints(memory.address_space())
    , kvm_(std::move(kvm))
    , vm_(std::move(vm))
    , tracker_(memory, make_dirty_log(vm_))
    , loop_(loop)
    , callbacks_(std::move(callbacks)) {}

Hardware::~Hardware() {
    // The balloon goes only when its thread can touch it no more, the memory after everything that uses it.
    balloon_thread.stop();
    vcpus.clear();
    slots.clear(); // its balloon answers what these have asked
    idle_memory.reset();
    sweeper.reset();
    squeezer.reset();
    console.reset();
}

Result<std::unique_ptr<Hardware>> Hardware::create(const control::VmConfig& config, const ConsoleOptions& console,
                                                   EventLoop& loop, Callbacks callbacks,
                                                   std::optional<ArrivingMemory> arriving) {
    auto regions = TRY(ram_regions(config.machine.mem_size));
    auto memory =
        arriving ? std::move(arriving->memory) : TRY(GuestMemory::create({std::move(regions), config.machine.backing}));
    auto kvm = TRY(Kvm::open());
    auto vm = TRY(Vm::create(kvm, config.machine.vcpu_count));
    auto hardware = std::unique_ptr<Hardware>(
        new Hardware(std::move(memory), std::move(kvm), std::move(vm), loop, std::move(callbacks)));
    TRY(hardware->map_memory());
    TRY(hardware->add_legacy_devices(console));
    TRY(hardware->add_virtio_devices(config, arriving && arriving->disks_too));
    TRY(hardware->add_vcpus(config.machine.vcpu_count));
    return hardware;
}

Result<> Hardware::map_memory() {
    std::uint32_t slot = 0;
    for (const MappedRegion& region : memory.regions())
        TRY(vm_.set_memory_region(SlotId{slot++}, region));
    return {};
}

// Posted by vCPU threads, and by a port handler as often as the guest writes it; Machine takes the first.
void Hardware::end_guest(GuestEnd::Kind kind) {
    post_to_main([this, kind] { callbacks_.ended({kind, {}}); });
}

void Hardware::post_to_main(std::function<void()> f) {
    loop_.post([alive = std::weak_ptr(alive_), f = std::move(f)] {
        if (!alive.expired())
            f();
    });
}

Result<> Hardware::add_legacy_devices(const ConsoleOptions& options) {
    serial = TRY(Serial::create(loop_, TRY(open_sink(options))));
    CHECK(ports_.add(Serial::com1, Serial::port_count, *serial));
    TRY(vm_.connect_interrupt(serial->interrupt(), layout::serial_gsi));
    power = TRY(Power::create(power_ports, {.on_reset = [this] { end_guest(GuestEnd::Kind::reset); },
                                            .on_power_off = [this] { end_guest(GuestEnd::Kind::power_off); }}));
    CHECK(power->add_to(ports_));
    TRY(vm_.connect_interrupt(power->interrupt(), layout::power_button_gsi));
    CHECK(ports_.add(CmosRtc::first_port, CmosRtc::port_count, rtc_));
    return {};
}

Result<> Hardware::attach_console(const ConsoleOptions& options) {
    if (options.kind == ConsoleOptions::Kind::stdio)
        console = TRY(Console::attach(loop_, *serial, STDIN_FILENO, [this] { callbacks_.quit(); }));
    return {};
}

Result<> Hardware::add_virtio(std::string name, EventLoop& loop, std::unique_ptr<virtio::Device> device) {
    if (slots.size() == layout::max_virtio_devices)
        return fail("too many devices: there are interrupt lines for {}; remove a drive", layout::max_virtio_devices);
    const VirtioMmioDevice place = virtio_mmio_device(static_cast<unsigned>(slots.size()));
    VirtioSlot& slot =
        slots.emplace_back(VirtioSlot{std::move(name), &loop, TRY(EventFd::create()), std::move(device), {}});
    slot.transport = TRY(virtio::MmioTransport::create(*slot.device, memory, loop, slot.interrupt, {}));
    TRY(vm_.connect_interrupt(slot.interrupt, place.gsi));
    for (std::uint16_t queue = 0; queue < slot.transport->queue_count(); ++queue)
        TRY(vm_.connect_io_event(
            {.address = {place.base.value + virtio::mmio_register::queue_notify}, .length = 4, .value = queue},
            slot.transport->kick(virtio::QueueIndex{queue})));
    CHECK(mmio_.add(place.base, layout::virtio_mmio_stride.value, slot));
    return {};
}

Result<> Hardware::add_virtio_devices(const control::VmConfig& config, bool disks_arrive) {
    if (config.balloon) {
        const balloon::BalloonConfig features{.deflate_on_oom = config.balloon->deflate_on_oom,
                                              .free_page_hinting = config.balloon->free_page_hinting,
                                              .free_page_reporting = config.balloon->free_page_reporting};
        auto device = std::make_unique<balloon::Balloon>(features, memory, balloon_thread.loop());
        balloon = device.get();
        TRY(balloon->set_target(whole_pages_of(config.balloon->target)));
        balloon->statistics().set_interval(config.balloon->stats_polling_interval);
        TRY(add_virtio("balloon", balloon_thread.loop(), std::move(device)));
        squeezer = std::make_unique<Squeezer>(balloon_thread.loop(), memory, *balloon);
        sweeper = std::make_unique<Sweeper>(
            balloon_thread.loop(), memory, tracker_, balloon->hinting(),
            Sweeper::Guest{.hold = [this] { post_to_main([this] { callbacks_.hold(); }); },
                           .resume = [this] { post_to_main([this] { callbacks_.release(); }); }});
        idle_memory = std::make_unique<IdleMemory>(balloon_thread.loop(), memory, *balloon, *sweeper, *squeezer);
    }
    for (const control::Drive& drive : config.drives) {
        auto image = TRY(
            DiskImage::open({.path = drive.path_on_host, .read_only = drive.is_read_only, .arriving = disks_arrive}));
        disks_.push_back({drive.drive_id, image.size()});
        auto block = TRY(Block::create(loop_, memory, std::move(image), drive.drive_id));
        blocks_.push_back(block.get());
        TRY(add_virtio("block:" + drive.drive_id, loop_, std::move(block)));
    }
    if (config.entropy)
        TRY(add_virtio("entropy", loop_, std::make_unique<Entropy>(memory)));
    return {};
}

Result<> Hardware::boot(const control::VmConfig& config) {
    AcpiConfig acpi{.vcpus = config.machine.vcpu_count, .virtio = {}, .serial = true};
    for (unsigned index = 0; index < slots.size(); ++index)
        acpi.virtio.push_back(virtio_mmio_device(index));
    TRY(write_acpi_tables(memory, acpi));

    const LoadedKernel kernel = TRY(load_kernel(memory, {.kernel = config.boot->kernel_image_path,
                                                         .initrd = config.boot->initrd_path,
                                                         .command_line = config.boot->boot_args,
                                                         .entry = config.boot->entry}));
    Vcpu& first = vcpus.front()->vcpu();
    if (kernel.protocol == LoadedKernel::Protocol::linux64)
        return first.enter(LongModeEntry{kernel.instruction, kernel.boot_data, layout::page_tables, layout::gdt});
    return first.enter(ProtectedModeEntry{kernel.instruction, kernel.boot_data});
}

Result<> Hardware::add_vcpus(unsigned count) {
    for (unsigned index = 0; index < count; ++index)
        vcpus.push_back(std::make_unique<VcpuThread>(
            TRY(vm_.create_vcpu(index)), ports_, mmio_,
            VcpuThread::Hooks{.loop = &loop_,
                              .paused = [this] { callbacks_.paused(); },
                              .ended = [this](GuestEnd end) { callbacks_.ended(std::move(end)); },
                              .left = [this] { callbacks_.left(); }}));
    return {};
}

} // namespace aerate
