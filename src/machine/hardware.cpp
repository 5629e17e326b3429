#include "machine/hardware.hpp"

#include "base/check.hpp"
#include "base/log.hpp"
#include "boot/acpi.hpp"
#include "kvm/dirty_log.hpp"
#include "net/net.hpp"
#include "virtio/mmio_registers.hpp"

#include <unistd.h>

#include <algorithm>

namespace aerate {
namespace {

constexpr PowerPorts power_ports{.reset = {layout::reset_port},
                                 .reset_value = layout::reset_value,
                                 .sleep_control = {layout::sleep_control_port},
                                 .sleep_control_off = layout::sleep_control_power_off,
                                 .sleep_status = {layout::sleep_status_port}};

unsigned threads_per_core(const control::MachineConfig& machine) {
    return machine.smt && machine.vcpu_count > 1 ? 2 : 1;
}

} // namespace

Hardware::Hardware(GuestMemory m, PageBitmap hinted, const HostFiles& host_files, Kvm kvm, Vm vm, EventLoop& loop,
                   Callbacks callbacks)
    : memory(std::move(m))
    , files(host_files)
    , counted_hints(std::move(hinted))
    , clock(loop, vm_, memory)
    , kvm_(std::move(kvm))
    , vm_(std::move(vm))
    , tracker_(memory, make_dirty_log(vm_, memory))
    , loop_(loop)
    , callbacks_(std::move(callbacks)) {}

Result<> Hardware::start_threads() {
    TRY(balloon_thread.start());
    if (std::ranges::any_of(slots, [this](const VirtioSlot& slot) { return slot.loop == &net_thread.loop(); }))
        TRY(net_thread.start());
    for (const auto& vcpu : vcpus)
        TRY(vcpu->start());
    return {};
}

Hardware::~Hardware() {
    // The balloon goes only when its thread can touch it no more, the memory after everything that uses it.
    balloon_thread.stop();
    net_thread.stop();
    vcpus.clear();
    care.reset();
    slots.clear(); // its balloon answers what these have asked
    idle_memory.reset();
    sweeper.reset();
    squeezer.reset();
    console.reset();
    if (console_socket_)
        console_socket_->disconnect();
}

Result<std::unique_ptr<Hardware>> Hardware::create(const control::VmConfig& config, const HostFiles& files,
                                                   const ConsoleOptions& console, EventLoop& loop, Callbacks callbacks,
                                                   std::optional<GuestMemory> given) {
    auto regions = TRY(ram_regions(config.machine.mem_size));
    auto memory = given ? *std::move(given) : TRY(GuestMemory::create({std::move(regions), config.machine.backing}));
    auto hinted = TRY(PageBitmap::create(memory.address_space()));
    auto kvm = TRY(Kvm::open());
    auto vm = TRY(Vm::create(kvm, config.machine.vcpu_count));
    auto hardware = std::unique_ptr<Hardware>(new Hardware(std::move(memory), std::move(hinted), files, std::move(kvm),
                                                           std::move(vm), loop, std::move(callbacks)));
    TRY(hardware->balloon_thread.loop().prepare());
    if (!config.network_interfaces.empty())
        TRY(hardware->net_thread.loop().prepare());
    TRY(hardware->vm_.map(hardware->memory.regions()));
    TRY(hardware->add_legacy_devices(console));
    TRY(hardware->add_virtio_devices(config));
    TRY(hardware->add_vcpus(config.machine));
    return hardware;
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
    serial = TRY(Serial::create(loop_, options.output));
    CHECK(ports_.add(Serial::com1, Serial::port_count, *serial));
    TRY(vm_.connect_interrupt(serial->interrupt(), layout::serial_gsi));
    power = TRY(Power::create(power_ports, {.on_reset = [this] { end_guest(GuestEnd::Kind::reset); },
                                            .on_power_off = [this] { end_guest(GuestEnd::Kind::power_off); }}));
    CHECK(power->add_to(ports_));
    TRY(vm_.connect_interrupt(power->interrupt(), layout::power_button_gsi));
    keyboard = TRY(KeyboardPort::create([this] { end_guest(GuestEnd::Kind::reset); }));
    CHECK(keyboard->add_to(ports_));
    TRY(vm_.connect_interrupt(keyboard->interrupt(), layout::keyboard_gsi));
    generation = TRY(GenerationId::create(memory, layout::generation_id));
    TRY(vm_.connect_interrupt(generation->interrupt(), layout::generation_gsi));
    CHECK(ports_.add(Port{layout::panic_port}, 1, panic_));
    CHECK(ports_.add(CmosRtc::first_port, CmosRtc::port_count, rtc_));
    return {};
}

void Hardware::add_boot_timer(std::function<void()> on_boot) {
    boot_timer_.emplace([this, on_boot = std::move(on_boot)] { post_to_main(on_boot); });
    CHECK(mmio_.add(layout::boot_timer, page_size.value, *boot_timer_));
}

Result<> Hardware::attach_console(const ConsoleOptions& options) {
    if (options.kind == control::ConsoleKind::terminal)
        console = TRY(Console::attach(loop_, *serial, STDIN_FILENO, [this] { callbacks_.quit(); }));
    if (options.socket) {
        console_socket_ = options.socket;
        console_socket_->connect(*serial);
    }
    return {};
}

Result<> Hardware::add_virtio(MadeDevice made) {
    if (slots.size() == layout::max_virtio_devices)
        return fail("too many devices: there are interrupt lines for {}; remove a drive", layout::max_virtio_devices);
    const VirtioMmioDevice place = virtio_mmio_device(static_cast<unsigned>(slots.size()));
    VirtioSlot& slot = *TRY(add_slot(slots, std::move(made), memory));
    TRY(vm_.connect_interrupt(slot.interrupt, place.gsi));
    for (std::uint16_t queue = 0; queue < slot.transport->queue_count(); ++queue)
        TRY(vm_.connect_io_event(
            {.address = {place.base.value + virtio::mmio_register::queue_notify}, .length = 4, .value = queue},
            slot.transport->kick(virtio::QueueIndex{queue})));
    CHECK(mmio_.add(place.base, layout::virtio_mmio_stride.value, slot));
    return {};
}

Result<> Hardware::add_virtio_devices(const control::VmConfig& config) {
    auto devices = TRY(make_devices(device_kinds(), {.config = config,
                                                     .files = files,
                                                     .memory = memory,
                                                     .main_loop = loop_,
                                                     .balloon_loop = balloon_thread.loop(),
                                                     .net_loop = net_thread.loop()}));
    for (MadeDevice& made : devices) {
        // What the machine itself has to do with.
        if (made.device->type() == virtio::DeviceType::balloon)
            balloon = static_cast<balloon::Balloon*>(made.device.get());
        else if (made.device->type() == virtio::DeviceType::block)
            blocks_.push_back(static_cast<Block*>(made.device.get()));
        TRY(add_virtio(std::move(made)));
    }
    return {};
}

void Hardware::announce() {
    for (VirtioSlot& slot : slots)
        if (slot.device->type() == virtio::DeviceType::net)
            slot.loop->post([&card = static_cast<Net&>(*slot.device)] { card.announce(); });
}

void Hardware::add_reclaim(Sweeper::Guest guest) {
    if (balloon == nullptr)
        return;
    EventLoop& loop = balloon_thread.loop();
    squeezer = std::make_unique<Squeezer>(loop, memory, *balloon);
    sweeper = std::make_unique<Sweeper>(loop, memory, tracker_, balloon->hinting(), std::move(guest));
    idle_memory = std::make_unique<IdleMemory>(loop, memory, *balloon, *sweeper, *squeezer);
    care = std::make_unique<BalloonCare>(
        loop, memory, *balloon, [this] { squeezer->cancel("the host's policy has not renewed its permit"); },
        [this](const BalloonNews& news) { post_to_main([this, news] { callbacks_.balloon_news(news); }); });
}

Result<> Hardware::boot(const control::VmConfig& config) {
    if (files.kernel() == nullptr)
        return fail(
            "the guest wants to boot, and has no kernel here: none came with it, and none was named when it was "
            "restored or received (--kernel FILE)");
    if (const BootFile* const changed = files.changed_boot_file())
        log::warning("the {} {} has been written to since it was opened: the guest boots what is there now",
                     changed->what, changed->path);
    AcpiConfig acpi{.vcpus = config.machine.vcpu_count, .virtio = {}, .serial = true};
    for (unsigned index = 0; index < slots.size(); ++index)
        acpi.virtio.push_back(virtio_mmio_device(index));
    TRY(write_acpi_tables(memory, acpi));
    TRY(generation->renew());
    TRY(vm_.start_clock());
    clock.look_at(vcpus);
    CHECK(clock.begin()); // where the tables are, there is RAM

    const LoadedKernel kernel = TRY(load_kernel(memory, {.kernel = files.kernel(),
                                                         .initrd = files.initrd(),
                                                         .command_line = control::kernel_command_line(config),
                                                         .entry = config.boot->entry}));
    TRY(apply_cpu_template(config));
    Vcpu& first = vcpus.front()->vcpu();
    if (kernel.protocol == LoadedKernel::Protocol::linux64)
        return first.enter(LongModeEntry{kernel.instruction, kernel.boot_data, layout::page_tables, layout::gdt});
    return first.enter(ProtectedModeEntry{kernel.instruction, kernel.boot_data});
}

/// A guest that was saved brings its processor with it.
Result<> Hardware::apply_cpu_template(const control::VmConfig& config) {
    if (!config.cpu || config.cpu->as_template().empty())
        return {};
    const CpuTemplate wanted = config.cpu->as_template();
    TRY(check_capabilities(kvm_, wanted));
    const auto savable = TRY(SavableState::of(kvm_));
    for (const auto& vcpu : vcpus)
        TRY(vm_.apply(wanted, savable, vcpu->vcpu(), threads_per_core(config.machine)));
    return {};
}

Result<> Hardware::add_vcpus(const control::MachineConfig& machine) {
    for (unsigned index = 0; index < machine.vcpu_count; ++index)
        vcpus.push_back(std::make_unique<VcpuThread>(
            TRY(vm_.create_vcpu(index, threads_per_core(machine))), ports_, mmio_,
            VcpuThread::Hooks{.loop = &loop_,
                              .paused = [this, index](protocol::OrderNumber order) { callbacks_.paused(index, order); },
                              .ended = [this](GuestEnd end) { callbacks_.ended(std::move(end)); },
                              .left = [this] { callbacks_.left(); }}));
    return {};
}

} // namespace aerate
