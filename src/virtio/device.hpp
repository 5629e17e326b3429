// What a transport and a device know of each other, and what every device is made of.
//
//     class Echo final : public virtio::Device {       // what a new device has to say:
//         type(), queue_sizes()                        // what it is
//         serve(index, queue)                          // takes chains, completes them
//     };
//
// The rest has a default: features, config space, work that outlives serve(), what is saved, what is counted.
//
// A device and its transport live on one event loop: every call below comes on that loop's thread, so a device needs no
// lock, and after reset() returns no effect of it can follow.
#pragma once

#include "base/error.hpp"
#include "event/event_loop.hpp"
#include "virtio/features.hpp"
#include "virtio/ring_fault.hpp"
#include "virtio/virtqueue.hpp"

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace aerate::virtio {

struct QueueIndex {
    std::uint16_t value{};
    auto operator<=>(const QueueIndex&) const = default;
};

enum class DeviceType : std::uint32_t { net = 1, block = 2, console = 3, entropy = 4, balloon = 5, vsock = 19 };

/// The transport, as its device sees it.
class DeviceHost {
public:
    /// Interrupts the guest for a used buffer. Devices call it once a batch, when Virtqueue::publish() says so.
    virtual void interrupt_queue(QueueIndex) = 0;
    /// Announces a change of the device's config space: new generation, config interrupt.
    virtual void config_changed() = 0;
    /// Calls kicked() once more, after others on the loop have had their turn.
    virtual void kick_again(QueueIndex) = 0;
    /// Called when the guest broke the ring's structure: NEEDS_RESET is set, no queue is served until the guest resets
    /// the device; the VM goes on. `what` is shown to the operator.
    virtual void needs_reset(QueueIndex, std::string_view what) = 0;

protected:
    ~DeviceHost() = default;
};

/// What DRIVER_OK handed over: the features, and the queues that the guest enabled (others are null).
struct Activation {
    FeatureSet features;
    std::span<Virtqueue* const> queues; ///< by queue index, as many as queue_sizes(); they live until reset()
    DeviceHost* host = nullptr;
};

/// What a device keeps of its guest beside the transport: bytes that only the device reads. Version 0: nothing.
struct DeviceState {
    std::uint32_t version = 0;
    std::vector<std::byte> bytes;
    bool operator==(const DeviceState&) const = default;
};

/// Something that a device counts, as /metrics shows it: `name` is snake_case, and only ever counts up.
struct Metric {
    std::string name;
    std::string help;
    std::uint64_t value = 0;
    std::vector<std::pair<std::string, std::string>> labels{};
};

/// The life of a device is kept here, once for all of them: whether it is active, paused or broken, and who waits until
/// it rests. A driver resets and activates its device at any time, also while it is paused or on its way there; none of
/// that ends a pause, and only resume() does.
class Device {
public:
    /// `name` is unique in its VM: it stands in messages, metrics and saved state ("balloon", "block:rootfs").
    explicit Device(std::string name)
        : name_(std::move(name)) {}
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;
    virtual ~Device() = default;

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] virtual DeviceType type() const = 0;
    /// Returns the device-specific bits; the transport adds VERSION_1 and the ring features.
    [[nodiscard]] virtual FeatureSet offered_features() const { return {}; }
    /// Returns the largest size of each queue; its length is the number of queues.
    [[nodiscard]] virtual std::span<const std::uint16_t> queue_sizes() const = 0;

    /// Reads the config space; bytes beyond it read as zero.
    virtual void read_config(std::uint32_t offset, std::span<std::byte> into);
    /// Ignores bytes that the driver may not write. May come before DRIVER_OK (PAGE_POISON's poison_val).
    virtual void write_config(std::uint32_t, std::span<const std::byte>, FeatureSet) {}

    // --- For the transport ---

    void activate(const Activation&);
    /// Called when the guest kicked a queue: serves it once, publishes what was completed, and asks to be kicked again
    /// if there is more. Ignored while the device is paused, broken or not active, and for queues that are not there.
    void kicked(QueueIndex);
    /// Drops work in flight; the queues are gone once this returns. A pause that was under way is complete.
    void reset();

    /// Takes no new buffers and completes what it has taken; calls `quiesced` (on this thread, maybe at once) when no
    /// buffer of the guest's is in use. Config space still answers. Pausing again replaces the callback.
    void pause(EventLoop::Callback quiesced);
    /// Undoes pause(), whatever has happened to the device meanwhile, and looks at every queue: kicks were dropped.
    /// Legal at any time; a `quiesced` that has not been called will not be.
    void resume();
    [[nodiscard]] bool paused() const { return paused_; }

    // --- For saving the VM, and for its counters ---

    /// REQUIRES: paused, and at rest.
    [[nodiscard]] virtual DeviceState save() const { return {}; }
    /// Takes a state of this version or of any older one that was ever released. It may come from a file that is
    /// damaged or hostile, and is refused then. REQUIRES: paused; the transport has been restored.
    [[nodiscard]] virtual Result<> restore(const DeviceState&);
    [[nodiscard]] virtual std::vector<Metric> metrics() const { return {}; }
    /// What keeps it from answering its guest at this moment and goes away by itself, in words for the operator; empty:
    /// nothing.
    [[nodiscard]] virtual std::string trouble() const { return {}; }

protected:
    /// Takes chains and completes them, at most one ring's worth, so that a guest that adds for ever starves nothing
    /// (R11). True: there may be more. take_chains() is what this is made of.
    [[nodiscard]] virtual std::expected<bool, RingFault> serve(QueueIndex, Virtqueue&) = 0;
    /// Returns whether what serve() has left in the ring waits for the host: buffers for packets that are still to
    /// come, or packets for whose answers there is no room. It stays there, also over a pause, and the device calls
    /// serve_again() when there is something to do with it.
    [[nodiscard]] virtual bool leaves_buffers(QueueIndex) const { return false; }
    /// Serves the queue as for a kick; nothing where there is none, or while the device is paused or broken.
    void serve_again(QueueIndex index) { kicked(index); }
    /// Returns whether nothing that the driver could add would end the wait: for a timer, for a back end. Kicks are
    /// neither wanted nor heeded until serve_again() then.
    [[nodiscard]] virtual bool waits(QueueIndex) const { return false; }
    /// Called at DRIVER_OK: virtqueue() knows the queues that the driver enabled.
    virtual void on_activate(FeatureSet) {}
    /// Drops work in flight, and what the last driver set. Queues and host are gone. Also comes when the device was not
    /// active, since config space may have been written before DRIVER_OK.
    virtual void on_reset() {}
    /// Gives back buffers that wait for something other than the end of work in flight.
    virtual void on_pause() {}
    /// Undoes on_pause(). Also comes to a device that is not active.
    virtual void on_resume() {}
    /// Returns whether no buffer of the guest's is in use. A device whose work outlives serve() says so, and calls
    /// work_finished() whenever some of it is done.
    [[nodiscard]] virtual bool idle() const { return true; }
    void work_finished();

    /// Returns whether it is between activate() and reset().
    [[nodiscard]] bool active() const { return host_ != nullptr; }
    /// Returns null where there is none.
    [[nodiscard]] Virtqueue* virtqueue(QueueIndex) const;
    /// Serves it no more, until the next activation.
    void forget_queue(QueueIndex);
    /// REQUIRES: active().
    [[nodiscard]] DeviceHost& host() const { return *host_; }
    /// Makes completions visible, and interrupts the guest if it wants that. Does nothing for queues that are not
    /// there.
    void publish(QueueIndex);
    /// Tells the transport that the config space has changed.
    void config_changed();

private:
    const std::string name_;
    DeviceHost* host_ = nullptr;
    std::vector<Virtqueue*> queues_;
    bool broken_ = false;
    bool paused_ = false;
    EventLoop::Callback quiesced_; ///< of a pause that is not complete
};

} // namespace aerate::virtio
