// virtio over MMIO, version 2 (virtio 1.2, 4.2): one device's register file, and the host of its device.
//
//     auto transport = TRY(MmioTransport::create(device, memory, loop, interrupt, {}));
//     transport->read(offset, bytes);             // a vCPU's exit
//     vm.add_ioeventfd(base + mmio_register::queue_notify, index, transport->kick(index));
//
// Threads. vCPUs call read() and write() from anywhere. The loop's thread owns the state, and a register access is a
// call() to it, so that a device sees one thing at a time; the three registers of the hot path (InterruptStatus,
// InterruptACK, QueueNotify) are atomics and eventfds, answered at once. All else is called on the loop's thread.
#pragma once

#include "base/error.hpp"
#include "event/event_fd.hpp"
#include "event/event_loop.hpp"
#include "memory/guest_memory.hpp"
#include "virtio/device.hpp"
#include "virtio/transport_counters.hpp"
#include "virtio/transport_state.hpp"
#include "virtio/virtqueue.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace aerate::virtio {

struct MmioOptions {
    bool offer_packed = true;
    bool offer_event_index = true;
    bool offer_indirect = true;
};

class MmioTransport final : public DeviceHost {
public:
    /// Borrows all of them; `interrupt` is what raises the device's interrupt line (an irqfd).
    [[nodiscard]] static Result<std::unique_ptr<MmioTransport>>
    create(Device& device, GuestMemory& memory, EventLoop& loop, const EventFd& interrupt, MmioOptions options);
    /// Runs on the loop's thread, or when the loop no longer runs.
    ~MmioTransport();
    MmioTransport(const MmioTransport&) = delete;
    MmioTransport& operator=(const MmioTransport&) = delete;

    /// Does one access of 1 to 8 bytes at an offset into the register file. Registers are 32 bits wide and answer only
    /// to aligned 4-byte accesses; config space answers to any. What no register answers reads as zero, and is ignored
    /// when written (T3). Any thread.
    void read(ByteCount offset, std::span<std::byte> into);
    void write(ByteCount offset, std::span<const std::byte> from);

    /// Returns what a write of this index to QueueNotify signals. REQUIRES: the queue exists.
    [[nodiscard]] const EventFd& kick(QueueIndex) const;
    [[nodiscard]] std::uint16_t queue_count() const { return static_cast<std::uint16_t>(queues_.size()); }
    /// Returns whether a driver uses the device: from DRIVER_OK to reset. Loop thread.
    [[nodiscard]] bool has_driver() const;
    /// Any thread.
    [[nodiscard]] TransportCounters counters() const { return counters_.values(); }

    /// Pauses the device, which heeds no kick then; `done` when it holds no buffer of the guest's. Registers still
    /// answer.
    void pause(EventLoop::Callback done);
    /// Undoes pause(), if there was one, at any time and whatever the driver has done meanwhile, and looks at every
    /// queue: a kick may have come and gone.
    void resume();

    /// REQUIRES: paused, and the device holds no buffer.
    [[nodiscard]] TransportState save() const;
    /// Checks the state as strictly as a driver's own steps to it, since its file may be damaged or hostile; activates
    /// the device if it was active. REQUIRES: paused, and no driver has touched it.
    [[nodiscard]] Result<> restore(const TransportState&);
    /// Signals once more what the driver has not acknowledged: an interrupt that was on its way to the interrupt
    /// controller is in no saved state. After everything that could lose it is restored.
    void repeat_interrupt();

    void interrupt_queue(QueueIndex) override;
    void config_changed() override;
    void kick_again(QueueIndex) override;
    void needs_reset(QueueIndex, std::string_view what) override;

private:
    struct Queue {
        explicit Queue(EventFd fd)
            : kick(std::move(fd)) {}
        EventFd kick;
        QueueRegisters registers;
        std::unique_ptr<Virtqueue> ring; ///< from DRIVER_OK to reset
        Subscription watch;
    };

    MmioTransport(Device&, GuestMemory&, EventLoop&, const EventFd& interrupt, MmioOptions, std::vector<EventFd> kicks);

    [[nodiscard]] std::uint32_t read_register(std::uint32_t offset) const;
    void write_register(std::uint32_t offset, std::uint32_t value);
    void write_driver_features(std::uint32_t value);
    void write_queue_register(std::uint32_t offset, std::uint32_t value);
    void write_queue_ready(std::uint32_t value);
    void write_status(std::uint32_t value);
    void ring_doorbell(std::uint32_t value);

    [[nodiscard]] bool features_acceptable() const;
    void activate(std::span<const QueuePosition> positions = {});
    void reset();
    void watch_kicks();
    void ignore_kicks();
    void serve(QueueIndex);
    void raise(std::uint32_t reason);

    [[nodiscard]] bool has_status(std::uint8_t bits) const { return (status_ & bits) == bits; }
    /// Returns whether it is between DRIVER_OK and reset, and not broken.
    [[nodiscard]] bool live() const;
    [[nodiscard]] Queue* selected();
    [[nodiscard]] const Queue* selected() const;
    [[nodiscard]] std::uint16_t selected_max_size() const;
    [[nodiscard]] FeatureSet negotiated() const;

    Device& device_;
    GuestMemory& memory_;
    EventLoop& loop_;
    const EventFd& interrupt_;
    const FeatureSet offered_;

    std::atomic<std::uint32_t> interrupt_status_{0};

    std::uint8_t status_ = 0;
    std::uint32_t config_generation_ = 0;
    std::uint32_t device_features_select_ = 0;
    std::uint32_t driver_features_select_ = 0;
    std::uint32_t queue_select_ = 0;
    FeatureSet accepted_;
    std::vector<Queue> queues_;
    std::vector<Virtqueue*> rings_; ///< of the last activation
    /// What is posted to the loop holds it weakly, and does nothing once a reset or our end has replaced it.
    std::shared_ptr<const int> epoch_ = std::make_shared<const int>();
    LiveTransportCounters counters_;
};

} // namespace aerate::virtio
