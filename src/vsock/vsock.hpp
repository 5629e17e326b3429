// virtio-vsock (virtio 1.2, 5.10), stream sockets only: rings, and what becomes of connections when the guest is saved.
// Which connections there are is the Multiplexer's.
//
// It lives on the main loop. Its work is system calls that do not wait and copies of bounded length, as the disk's and
// the serial port's is; a thread of its own would cost each guest that hardly uses its vsock a stack and a wake-up for
// each byte, and would have to be brought to rest as well.
//
// A guest that goes on elsewhere, or from a snapshot, has connections whose other end is not there. It is told when it
// goes on, not when it is saved, so that the one that was saved keeps its own: TRANSPORT_RESET comes first, and nothing
// else until the guest has taken notice, which may otherwise take a new connection for one of before; then RST for each
// connection that there was, for guests that do not heed the event.
#pragma once

#include "base/error.hpp"
#include "event/event_loop.hpp"
#include "memory/guest_memory.hpp"
#include "virtio/device.hpp"
#include "vsock/multiplexer.hpp"
#include "vsock/rx_buffers.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

namespace aerate::vsock {

/// CIDs below are reserved (virtio 1.2, 5.10.4), as is the last.
inline constexpr std::uint32_t guest_cid_min = 3;
inline constexpr std::uint32_t guest_cid_max = 0xffff'fffe;

class Vsock final : public virtio::Device {
public:
    struct Options {
        Multiplexer::Options connections{};
        /// How long a guest may take to notice TRANSPORT_RESET; one that never does has its packets all the same.
        std::chrono::milliseconds reset_patience{1000};
    };
    static constexpr virtio::QueueIndex rx{0};
    static constexpr virtio::QueueIndex tx{1};
    static constexpr virtio::QueueIndex event{2};
    static constexpr std::uint16_t queue_size = 256;
    /// What one turn may move before others on the loop have theirs.
    static constexpr std::uint64_t turn_bytes = 1U << 20;

    [[nodiscard]] static Result<std::unique_ptr<Vsock>> create(EventLoop&, GuestMemory&,
                                                               std::shared_ptr<const UnixListener>, const Options&);

    [[nodiscard]] virtio::DeviceType type() const override { return virtio::DeviceType::vsock; }
    [[nodiscard]] std::span<const std::uint16_t> queue_sizes() const override { return queue_sizes_; }
    void read_config(std::uint32_t offset, std::span<std::byte> into) override;

    [[nodiscard]] virtio::DeviceState save() const override;
    [[nodiscard]] Result<> restore(const virtio::DeviceState&) override;
    [[nodiscard]] std::vector<virtio::Metric> metrics() const override;

    [[nodiscard]] const Multiplexer& connections() const { return *multiplexer_; }

private:
    /// How far the guest knows of TRANSPORT_RESET.
    enum class Reset : std::uint8_t {
        none,
        due,  ///< when the guest goes on
        told, ///< and not noticed
    };

    Vsock(EventLoop&, GuestMemory&, const Options&);
    [[nodiscard]] std::expected<bool, virtio::RingFault> serve(virtio::QueueIndex, virtio::Virtqueue&) override;
    [[nodiscard]] bool leaves_buffers(virtio::QueueIndex) const override;
    void on_activate(virtio::FeatureSet) override;
    void on_reset() override;
    void on_pause() override;
    void on_resume() override;
    [[nodiscard]] bool idle() const override { return rx_buffers_.empty(); }

    [[nodiscard]] std::expected<bool, virtio::RingFault> deliver(virtio::Virtqueue&);
    [[nodiscard]] std::expected<bool, virtio::RingFault> take(virtio::Virtqueue&);
    [[nodiscard]] std::uint64_t take_packet(std::span<const virtio::Buffer>);
    void tell_reset();
    [[nodiscard]] bool write_event(const virtio::DescriptorChain&);
    void await_notice();
    void look_for_notice(virtio::Virtqueue&);
    void open_gate();

    static constexpr std::array<std::uint16_t, 3> queue_sizes_{queue_size, queue_size, queue_size};
    EventLoop& loop_;
    GuestMemory& memory_;
    Options options_;
    std::unique_ptr<Multiplexer> multiplexer_;
    RxBuffers rx_buffers_;
    std::vector<iovec> packet_; ///< of take_packet()

    Reset reset_ = Reset::none;
    Subscription reset_timer_;
    std::uint64_t resets_told_ = 0;
    std::uint64_t resets_not_noticed_ = 0;
    std::uint64_t kicks_[3]{};
};

} // namespace aerate::vsock
