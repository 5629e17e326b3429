// The balloon, as a front-end drives it: memory tables that come and go, rings that are started and stopped one by one,
// a device that is active when what is set up is enough for a driver to use it.
//
// vhost-user does not say when the driver is ready, unless the front-end tells the device's status. So the device
// becomes active when as many rings are started and enabled as the negotiated features ask for, or at the first kick of
// one that is; and not before DRIVER_OK where a status was told. Each change of rings or memory takes the device to
// rest, with its state kept, and makes it active again: nothing is changed under it.
//
// A ring that begins anew means a new driver; one that goes on where it was (a paused or a reconnected guest) gets the
// state that the balloon had.
//
// Its parts: back_end_memory.cpp, back_end_rings.cpp, back_end_activity.cpp; features, status and config space are in
// back_end.cpp.
//
// All on the loop's thread.
#pragma once

#include "balloon/balloon.hpp"
#include "balloon/counting_sink.hpp"
#include "base/error.hpp"
#include "event/event_loop.hpp"
#include "vhost_user/inflight.hpp"
#include "vhost_user/memory_budget.hpp"
#include "vhost_user/memory_table.hpp"
#include "vhost_user/shared_log.hpp"
#include "vhost_user/vring.hpp"
#include "virtio/device.hpp"
#include "virtio/transport_counters.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace aerate::vhost_user {

struct BackEndOptions {
    balloon::BalloonConfig balloon;
    std::chrono::seconds statistics_interval{};
    bool offer_packed = true;
    std::shared_ptr<MemoryBudget> memory_budget = nullptr; ///< nothing: no bound
};

/// What is kept of a guest's balloon when its front-end is gone, for when it comes back.
struct KeptState {
    balloon::BalloonState balloon;
    std::optional<std::uint32_t> poison_value; ///< nothing: the driver never said
};

class BackEnd final : public virtio::DeviceHost {
public:
    struct Events {
        /// Called before memory and balloon are destroyed: new ones follow.
        std::function<void()> replacing;
        /// Called when the guest can no longer be served, for example because its memory was taken
        /// away. Post: this is called from inside.
        std::function<void(std::string why)> failed;
    };

    [[nodiscard]] static Result<std::unique_ptr<BackEnd>> create(EventLoop&, const BackEndOptions&, Events,
                                                                 std::optional<KeptState> = std::nullopt);
    ~BackEnd();
    BackEnd(const BackEnd&) = delete;
    BackEnd& operator=(const BackEnd&) = delete;

    // --- For the code that controls the balloon ---
    [[nodiscard]] balloon::Balloon& balloon() { return *device_->balloon; }
    [[nodiscard]] GuestMemory& memory() { return *device_->memory; }
    [[nodiscard]] balloon::CountingSink& counted_hints() { return device_->counted_hints; }
    /// Returns false if memory() is a stand-in, since the front-end has given none.
    [[nodiscard]] bool has_memory() const { return !device_->table.empty(); }
    [[nodiscard]] bool active() const { return active_; }
    void set_statistics_interval(std::chrono::seconds);
    /// Returns the counters since the front-end connected, whatever memory the guest had.
    [[nodiscard]] balloon::Counters counters() const;
    [[nodiscard]] virtio::TransportCounters transport_counters() const { return counters_.values(); }
    /// Brings the device to rest.
    [[nodiscard]] KeptState keep();

    // --- For the session: what the front-end asks. Errors say what was wrong; nothing has changed then. ---
    [[nodiscard]] virtio::FeatureSet offered() const { return offered_; }
    /// Handles GET_FEATURES. User Mode Linux without the feature bit PROTOCOL_FEATURES (its driver cleared another bit)
    /// sends no SET_VRING_ENABLE; when it removes the device it asks for the features instead, to know that all was
    /// taken.
    void features_asked();
    [[nodiscard]] Result<> set_features(virtio::FeatureSet);
    void set_status(std::uint8_t);
    [[nodiscard]] std::uint8_t status() const;
    void reset_device();
    void stop_all_rings();

    [[nodiscard]] const MemoryTable& table() const { return device_->table; }
    [[nodiscard]] Result<> set_memory(MemoryTable);

    [[nodiscard]] std::uint16_t ring_count() const { return static_cast<std::uint16_t>(rings_.size()); }
    [[nodiscard]] Result<> set_ring_size(std::uint32_t index, std::uint32_t size);
    [[nodiscard]] Result<> set_ring_addresses(std::uint32_t index, const Vring::Addresses&,
                                              std::optional<GuestAddress> log);
    [[nodiscard]] Result<> set_ring_base(std::uint32_t index, std::uint32_t base);
    [[nodiscard]] Result<> start_ring(std::uint32_t index, Kick);
    /// Stops the ring and returns its base.
    [[nodiscard]] Result<std::uint32_t> stop_ring(std::uint32_t index);
    [[nodiscard]] Result<> enable_ring(std::uint32_t index, bool);
    [[nodiscard]] Result<> set_call(std::uint32_t index, Notifier);
    [[nodiscard]] Result<> set_error(std::uint32_t index, Notifier);

    void read_config(std::uint32_t offset, std::span<std::byte> into);
    void write_config(std::uint32_t offset, std::span<const std::byte> from);
    /// A socket for messages about changes of the config space.
    void set_config_channel(FileDescriptor socket) { config_channel_ = std::move(socket); }

    [[nodiscard]] Result<> set_log(SharedLog);
    void set_log_notifier(Notifier notifier) { log_notifier_ = std::move(notifier); }
    void set_inflight(Inflight inflight);
    /// Returns whether a file that the front-end shares was cut short: what is read now is worthless.
    [[nodiscard]] bool lost() const;
    [[nodiscard]] bool packed() const { return negotiated_.has(virtio::feature::ring_packed); }

    // --- For the device ---
    void interrupt_queue(virtio::QueueIndex) override;
    void config_changed() override;
    void kick_again(virtio::QueueIndex) override;
    void needs_reset(virtio::QueueIndex, std::string_view what) override;

private:
    /// The guest's memory, and the balloon that lives on it.
    struct Device {
        /// Fails when the host refuses the memory for what is known of each page.
        [[nodiscard]] static Result<std::unique_ptr<Device>> create(MemoryTable, std::shared_ptr<GuestMemory>,
                                                                    const balloon::BalloonConfig&, EventLoop&);
        MemoryTable table;                   ///< keeps the files
        std::shared_ptr<GuestMemory> memory; ///< the stand-in is shared
        balloon::CountingSink counted_hints;
        PageBitmap logged; ///< on its way into the front-end's log
        std::unique_ptr<balloon::Balloon> balloon;
    };

    BackEnd(EventLoop&, const BackEndOptions&, Events, std::unique_ptr<Device>, std::optional<KeptState>);
    [[nodiscard]] Result<Vring*> ring(std::uint32_t index);
    [[nodiscard]] bool wanted(const Vring&) const;
    [[nodiscard]] bool ready() const;
    void update();
    void activate();
    struct RingSetup {
        virtio::QueueRegisters registers;
        virtio::QueuePosition position;
    };
    [[nodiscard]] std::expected<RingSetup, virtio::RingFault> setup_of(std::uint16_t index);
    [[nodiscard]] std::expected<void, virtio::RingFault> make_queues(bool& anew);
    void deactivate();
    void resume_state();
    void rings_stopped();
    void watch_kicks();
    void serve(std::uint16_t index);
    void refuse(std::uint16_t index, virtio::RingFault);
    void after_turn();
    void update_logging();
    void flush_log();
    [[nodiscard]] Result<std::unique_ptr<Device>> make_device(MemoryTable) const;
    [[nodiscard]] Result<std::shared_ptr<GuestMemory>> map(const MemoryTable&) const;
    /// Returns the memory that is used while the front-end has shared none.
    [[nodiscard]] static Result<std::shared_ptr<GuestMemory>> stand_in();
    /// Returns the state without what is no longer this guest's RAM.
    [[nodiscard]] static balloon::BalloonState fitted(balloon::BalloonState, const GuestMemory&);
    [[nodiscard]] std::uint32_t wanted_target() const;
    /// Returns what was negotiated, without the bits that are vhost's own.
    [[nodiscard]] virtio::FeatureSet driver_features() const;

    EventLoop& loop_;
    BackEndOptions options_;
    Events events_;
    std::unique_ptr<Device> device_;
    MemoryBudget::Part memory_part_; ///< of what device_ has mapped
    const virtio::FeatureSet offered_;

    virtio::FeatureSet negotiated_;
    std::uint8_t status_ = 0;
    bool active_ = false;
    bool kicked_ = false;           ///< a ring that is ready, since rings were last stopped
    bool broken_ = false;           ///< until the front-end stops or resets the device
    balloon::BalloonState state_;   ///< when the device last came to rest; its target does not count
    std::uint32_t kept_target_ = 0; ///< see wanted_target()
    std::optional<std::uint32_t> poison_value_;
    bool poison_fixed_ = false; ///< written since the driver began
    balloon::Counters earlier_; ///< of balloons before this one

    FileDescriptor config_channel_;
    Notifier log_notifier_;
    std::optional<SharedLog> log_;
    bool logging_ = false;
    std::optional<Inflight> inflight_;
    std::vector<Vring> rings_; ///< queues refer to inflight_ and device_, so they go first
    virtio::LiveTransportCounters counters_;
    /// What is posted to the loop holds it weakly, and does nothing once the device has come to rest.
    std::shared_ptr<const int> epoch_ = std::make_shared<const int>();
};

} // namespace aerate::vhost_user
