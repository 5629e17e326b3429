// The parts of one virtual machine, assembled: memory, KVM, devices on their buses, vCPUs. Holds no logic: Machine
// does.
//
// Owned by the main loop. The balloon and its transport live on the balloon loop, so that a discard of milliseconds
// holds nothing else up.
#pragma once

#include "balloon/balloon.hpp"
#include "balloon/counting_sink.hpp"
#include "base/error.hpp"
#include "block/block.hpp"
#include "boot/kernel_image.hpp"
#include "boot/memory_layout.hpp"
#include "control/vm_config.hpp"
#include "event/loop_thread.hpp"
#include "kvm/kvm.hpp"
#include "kvm/vm.hpp"
#include "machine/console_options.hpp"
#include "machine/diff_base.hpp"
#include "machine/guest_clock.hpp"
#include "machine/host_files.hpp"
#include "machine/threads.hpp"
#include "machine/vcpu_thread.hpp"
#include "machine/virtio_slots.hpp"
#include "machine/working_set.hpp"
#include "memory/dirty_tracker.hpp"
#include "memory/guest_memory.hpp"
#include "platform/boot_timer.hpp"
#include "platform/cmos_rtc.hpp"
#include "platform/console.hpp"
#include "platform/generation_id.hpp"
#include "platform/keyboard_port.hpp"
#include "platform/mmio_bus.hpp"
#include "platform/pio_bus.hpp"
#include "platform/power.hpp"
#include "platform/pvpanic.hpp"
#include "platform/serial.hpp"
#include "reclaim/balloon_care.hpp"
#include "reclaim/idle_memory.hpp"
#include "reclaim/squeezer.hpp"
#include "reclaim/sweeper.hpp"
#include "state/saved_vm.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace aerate {

/// A guest that has run before, here or elsewhere.
struct SavedGuest {
    GuestMemory memory;
    state::SavedVm state;
    std::shared_ptr<HostFiles> files;
    std::optional<snapshot::Parent> snapshot = {};         ///< that it comes from
    std::optional<snapshot::MemoryImage> memory_file = {}; ///< where its memory was, unless in that file
    std::string snapshot_path = {};                        ///< where that is
    snapshot::Lineage lineage = {};
    std::vector<PageRange> working_set = {}; ///< of the snapshot, to be read ahead
    ClockAfterRestore clock = ClockAfterRestore::goes_on;
    std::optional<WorkingSetRecording> record = {}; ///< asked for
};

class Hardware {
public:
    struct Callbacks {
        /// Called when this vCPU rests, by this order.
        std::function<void(unsigned vcpu, protocol::OrderNumber)> paused;
        std::function<void(GuestEnd)> ended; ///< the guest powered off, reset or crashed
        std::function<void()> left;          ///< a vCPU thread is gone
        std::function<void()> quit;          ///< the operator asked at the console
        std::function<void()> panicked;      ///< the guest's kernel says that it has
        std::function<void(const BalloonNews&)> balloon_news;
    };

    /// Creates a machine without a guest in it, which boot() or restore() brings; with fresh memory, if none is given.
    /// The files are lent: they outlive this machine when its guest resets itself. All callbacks come on `loop`.
    [[nodiscard]] static Result<std::unique_ptr<Hardware>> create(const control::VmConfig&, const HostFiles&,
                                                                  const ConsoleOptions&, EventLoop& loop, Callbacks,
                                                                  std::optional<GuestMemory> = std::nullopt);
    /// Does everything up to the first instruction. Fails if there is no kernel.
    Result<> boot(const control::VmConfig&);
    /// Lets the guest tell that it has booted: `on_boot` comes on the main loop, once. REQUIRES: no vCPU runs.
    void add_boot_timer(std::function<void()> on_boot);
    /// Does everything up to the next instruction of a guest whose memory is here. Its devices are at rest.
    Result<> restore(const state::SavedVm&, ClockAfterRestore = ClockAfterRestore::goes_on);
    /// Makes what takes memory back from a running guest, if there is a balloon. A sweep holds the guest as it is told.
    void add_reclaim(Sweeper::Guest);
    /// Takes over the terminal, if that is the console; takes what is typed at the socket, if that is.
    Result<> attach_console(const ConsoleOptions&);
    /// Starts the balloon's thread and the vCPUs', which wait for their first order. Fails when the host refuses one.
    [[nodiscard]] Result<> start_threads();
    /// REQUIRES: no vCPU waits for an answer of the main loop.
    ~Hardware();

    /// REQUIRES: devices and vCPUs are at rest. Main loop, or before it runs.
    [[nodiscard]] Result<state::SavedVm> save();
    [[nodiscard]] const EventLoop& loop() const { return loop_; }
    [[nodiscard]] const EventLoop& net_loop() const { return net_thread.loop(); }
    [[nodiscard]] DirtyTracker& tracker() { return tracker_; }
    [[nodiscard]] DiffBases& diff_bases() { return diff_bases_; }
    struct Disk {
        FileDescriptor fd;
        std::string path; ///< for messages
    };
    /// Duplicates the descriptors of those that can be written, for a sync that may outlive this. Any thread.
    [[nodiscard]] Result<std::vector<Disk>> duplicate_disks() const;
    /// Fails if a private disk was written: whoever has the image does not have the guest's disk. Main loop.
    [[nodiscard]] Result<> disks_are_whole() const;
    /// Calls DiskImage::hand_over() for every disk, or for none; and take_back(). Devices are at rest.
    [[nodiscard]] Result<> hand_over_disks() const;
    void take_back_disks() const;
    /// Has each network card tell its network that the guest is here now, as soon as it runs.
    void announce();
    /// Calls DiskImage::arrive() for every disk.
    [[nodiscard]] Result<> disks_arrive() const;
    /// Gives a drive another image, which the guest learns by a change of its configuration.
    /// REQUIRES: devices are at rest, and there is that drive.
    [[nodiscard]] Result<> change_disk(const control::Drive&, std::shared_ptr<const DiskImage>);

    GuestMemory memory;
    const HostFiles& files;
    balloon::Balloon* balloon = nullptr; ///< of the balloon slot; balloon loop
    balloon::CountingSink counted_hints; ///< balloon loop
    // Balloon loop; there when the balloon is, from add_reclaim() on.
    std::unique_ptr<Sweeper> sweeper;
    std::unique_ptr<Squeezer> squeezer;
    std::unique_ptr<IdleMemory> idle_memory;
    std::unique_ptr<BalloonCare> care;
    LoopThread balloon_thread{aerate::balloon_thread};
    LoopThread net_thread{aerate::net_thread}; ///< runs if there is a network card
    std::jthread working_set;                  ///< reads it ahead, or records it
    std::unique_ptr<Serial> serial;
    std::unique_ptr<Console> console;
    std::unique_ptr<Power> power;
    std::unique_ptr<KeyboardPort> keyboard;
    std::optional<GenerationId> generation; ///< from create() on
    VirtioSlots slots;
    std::vector<std::unique_ptr<VcpuThread>> vcpus;
    GuestClock clock; ///< right from boot() or restore() on

private:
    Hardware(GuestMemory memory, PageBitmap hinted, const HostFiles&, Kvm kvm, Vm vm, EventLoop& loop,
             Callbacks callbacks);
    Result<> add_legacy_devices(const ConsoleOptions&);
    Result<> add_virtio_devices(const control::VmConfig&);
    Result<> add_virtio(MadeDevice);
    Result<> apply_cpu_template(const control::VmConfig&);
    Result<> add_vcpus(const control::MachineConfig&);
    Result<> check_fits(const state::SavedVm&) const;
    void end_guest(GuestEnd::Kind);
    /// Posts to the main loop, from any thread. Dropped when the machine is gone: the loop outlives it.
    void post_to_main(std::function<void()>);

    Kvm kvm_;
    Vm vm_;
    std::shared_ptr<ConsoleSocket> console_socket_; ///< what is typed there is for this guest
    DirtyTracker tracker_;
    DiffBases diff_bases_{tracker_};
    std::vector<Block*> blocks_; ///< of the slots
    EventLoop& loop_;
    Callbacks callbacks_;
    std::shared_ptr<const int> alive_ = std::make_shared<const int>();
    PioBus ports_;
    MmioBus mmio_;
    CmosRtc rtc_;
    std::optional<BootTimer> boot_timer_;
    PvPanic panic_{[this] { post_to_main([this] { callbacks_.panicked(); }); }};
};

} // namespace aerate
