// The parts of one virtual machine, assembled: memory, KVM, devices on their buses, vCPUs. Holds no logic: Machine
// does.
//
// Owned by the main loop. The balloon and its transport live on the balloon loop, so that a discard of milliseconds
// holds up nobody else.
#pragma once

#include "balloon/balloon.hpp"
#include "balloon/counting_sink.hpp"
#include "base/error.hpp"
#include "boot/kernel_image.hpp"
#include "boot/memory_layout.hpp"
#include "control/vm_config.hpp"
#include "devices/block.hpp"
#include "devices/cmos_rtc.hpp"
#include "devices/console.hpp"
#include "devices/entropy.hpp"
#include "devices/mmio_bus.hpp"
#include "devices/pio_bus.hpp"
#include "devices/power.hpp"
#include "devices/serial.hpp"
#include "event/loop_thread.hpp"
#include "kvm/kvm.hpp"
#include "kvm/vm.hpp"
#include "machine/console_options.hpp"
#include "machine/diff_base.hpp"
#include "machine/idle_memory.hpp"
#include "machine/squeezer.hpp"
#include "machine/sweeper.hpp"
#include "machine/vcpu_thread.hpp"
#include "machine/working_set.hpp"
#include "memory/dirty_tracker.hpp"
#include "memory/guest_memory.hpp"
#include "state/saved_vm.hpp"
#include "virtio/mmio_transport.hpp"

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace aerate {

/// A device behind a virtio-mmio transport, with its interrupt line. On the bus it is its register file.
struct VirtioSlot {
    std::string name; ///< for metrics: "balloon", "block:rootfs"
    EventLoop* loop;  ///< the device's and the transport's
    EventFd interrupt;
    std::unique_ptr<virtio::Device> device;
    std::unique_ptr<virtio::MmioTransport> transport;

    void read(std::uint64_t offset, std::span<std::byte> into) { transport->read(ByteCount{offset}, into); }
    void write(std::uint64_t offset, std::span<const std::byte> from) { transport->write(ByteCount{offset}, from); }
};

/// A guest that has run before, here or elsewhere.
struct SavedGuest {
    GuestMemory memory;
    state::SavedVm state;
    std::optional<snapshot::Parent> snapshot = {};  ///< that it comes from
    std::vector<PageRange> working_set = {};        ///< of the snapshot, to be read ahead
    std::optional<WorkingSetRecording> record = {}; ///< asked for
};

/// Of a guest that is not here yet.
struct ArrivingMemory {
    GuestMemory memory;
    bool disks_too = false; ///< another monitor has them until its guest stands still
};

class Hardware {
public:
    struct Callbacks {
        std::function<void()> paused;        ///< a vCPU stands
        std::function<void(GuestEnd)> ended; ///< the guest powered off, reset or crashed
        std::function<void()> left;          ///< a vCPU thread is gone
        std::function<void()> quit;          ///< the operator asked at the console
        std::function<void()> hold;          ///< the sweeper wants the guest to rest
        std::function<void()> release;       ///< and to go on
    };

    /// Without a guest in it, which boot() or restore() brings; with fresh memory, if none is given. All callbacks come
    /// on `loop`.
    [[nodiscard]] static Result<std::unique_ptr<Hardware>> create(const control::VmConfig&, const ConsoleOptions&,
                                                                  EventLoop& loop, Callbacks,
                                                                  std::optional<ArrivingMemory> = std::nullopt);
    /// Everything up to the first instruction.
    Result<> boot(const control::VmConfig&);
    /// Everything up to the next instruction of a guest whose memory is here. Its devices are at rest.
    Result<> restore(const state::SavedVm&);
    /// Takes over the terminal, if that is the console.
    Result<> attach_console(const ConsoleOptions&);
    /// REQUIRES: no vCPU thread runs, and the main loop does not.
    ~Hardware();

    /// REQUIRES: devices and vCPUs are at rest. Main loop, or before it runs.
    [[nodiscard]] Result<state::SavedVm> save();
    [[nodiscard]] DirtyTracker& tracker() { return tracker_; }
    [[nodiscard]] DiffBase& diff_base() { return diff_base_; }
    /// DiskImage::share() for every disk, with what was written on its way to the disk; and back. Devices are at rest.
    void share_disks();
    void take_back_disks();
    /// DiskImage::arrive() for every disk.
    [[nodiscard]] Result<> disks_arrive() const;

    GuestMemory memory;
    balloon::Balloon* balloon = nullptr; ///< of the balloon slot; balloon loop
    balloon::CountingSink counted_hints; ///< balloon loop
    // Balloon loop; there when the balloon is.
    std::unique_ptr<Sweeper> sweeper;
    std::unique_ptr<Squeezer> squeezer;
    std::unique_ptr<IdleMemory> idle_memory;
    LoopThread balloon_thread{"balloon"};
    std::jthread working_set; ///< reads it ahead, or records it
    std::unique_ptr<Serial> serial;
    std::unique_ptr<Console> console;
    std::unique_ptr<Power> power;
    std::deque<VirtioSlot> slots; ///< the buses point at them
    std::vector<std::unique_ptr<VcpuThread>> vcpus;

private:
    Hardware(GuestMemory memory, Kvm kvm, Vm vm, EventLoop& loop, Callbacks callbacks);
    Result<> map_memory();
    Result<> add_legacy_devices(const ConsoleOptions&);
    Result<> add_virtio_devices(const control::VmConfig&, bool disks_arrive);
    Result<> add_virtio(std::string name, EventLoop&, std::unique_ptr<virtio::Device>);
    Result<> add_vcpus(unsigned count);
    Result<> check_fits(const state::SavedVm&) const;
    void end_guest(GuestEnd::Kind);
    /// From any thread. Dropped when the machine is gone: the loop outlives it.
    void post_to_main(std::function<void()>);

    Kvm kvm_;
    Vm vm_;
    DirtyTracker tracker_;
    DiffBase diff_base_{tracker_, memory.address_space()};
    std::vector<state::SavedDisk> disks_;
    std::vector<const Block*> blocks_; ///< of the slots
    EventLoop& loop_;
    Callbacks callbacks_;
    std::shared_ptr<const int> alive_ = std::make_shared<const int>();
    PioBus ports_;
    MmioBus mmio_;
    CmosRtc rtc_;
};

} // namespace aerate
