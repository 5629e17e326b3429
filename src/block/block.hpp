// virtio-block (virtio 1.2, 5.2) over a raw image, one queue.
//
// A request's life: pop and parse; the engine reads or writes guest memory directly; what is left after a short
// transfer is submitted again; status byte, used ring, interrupt. A disk that fails answers IOERR and the guest
// decides.
//
// A buffer that the disk may fill counts as written from pop to completion: it is recorded in the write log at both
// ends, so a harvest of the log in between still finds the page at the next harvest.
#pragma once

#include "base/error.hpp"
#include "block/block_request.hpp"
#include "block/disk_image.hpp"
#include "block/io_engine.hpp"
#include "event/event_loop.hpp"
#include "memory/guest_memory.hpp"
#include "protocol/rate_limiter.hpp"
#include "virtio/device.hpp"
#include "virtio/throttle.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace aerate {

struct BlockCounters {
    std::uint64_t reads = 0;
    std::uint64_t writes = 0;
    std::uint64_t flushes = 0;
    std::uint64_t discards = 0; ///< with write-zeroes
    ByteCount read{};
    ByteCount written{};
    std::uint64_t failed = 0;  ///< the host's disk said no
    std::uint64_t held = 0;    ///< requests that it said no to and that were tried again (OnDiskError::pause)
    std::uint64_t refused = 0; ///< the request made no sense
};

struct BlockOptions {
    IoEngineKind engine = IoEngineKind::io_uring;
    /// The guest can have its writes made stable (VIRTIO_BLK_F_FLUSH). Without it the host writes them when it likes.
    bool flush = true;
    protocol::RateLimits limits{};
};

class Block final : public virtio::Device {
public:
    static constexpr std::uint16_t queue_size = 256;
    /// Header and status need a descriptor each.
    static constexpr std::uint32_t max_segments = queue_size - 2;
    static constexpr std::uint32_t max_range_sectors = 1U << 22;
    static constexpr std::uint32_t max_range_segments = 16;

    /// `id` is what the guest sees as the serial number; cut to 20 bytes.
    [[nodiscard]] static Result<std::unique_ptr<Block>>
    create(EventLoop&, GuestMemory&, std::shared_ptr<const DiskImage>, std::string id, const BlockOptions& = {});
    /// Uses the caller's engine, which was made for the image and for `queue_size` operations.
    Block(EventLoop&, GuestMemory&, std::shared_ptr<const DiskImage>, std::unique_ptr<IoEngine>, std::string id,
          bool flush = true, const protocol::RateLimits& = {});
    ~Block() override;

    [[nodiscard]] virtio::DeviceType type() const override { return virtio::DeviceType::block; }
    [[nodiscard]] virtio::FeatureSet offered_features() const override;
    [[nodiscard]] std::span<const std::uint16_t> queue_sizes() const override { return queue_sizes_; }
    void read_config(std::uint32_t offset, std::span<std::byte> into) override;

    /// The guest knows how large its disk is; another size would be another disk, and is refused.
    [[nodiscard]] virtio::DeviceState save() const override;
    [[nodiscard]] Result<> restore(const virtio::DeviceState&) override;
    [[nodiscard]] std::vector<virtio::Metric> metrics() const override;
    /// With OnDiskError::pause: that requests wait for the disk, until the last of them is answered.
    [[nodiscard]] std::string trouble() const override;

    [[nodiscard]] const DiskImage& image() const { return *image_; }
    /// Puts another disk in place of this one, and tells the guest how large it is. Fails when the guest could not be
    /// told what else is different, and changes nothing then. REQUIRES: the device is at rest.
    [[nodiscard]] Result<> change_image(std::shared_ptr<const DiskImage>, IoEngineKind);
    [[nodiscard]] const BlockCounters& counters() const { return counters_; }

    /// While the guest runs. Each request is one operation; reads and writes are as many bytes as they have.
    void change_limits(const protocol::RateLimits& limits) { throttle_.change(limits); }

private:
    /// One request in flight. Slots are used again, so that their vectors rarely allocate.
    struct Slot {
        bool in_flight = false;
        bool held = false; ///< its disk has failed it, and it is tried again
        virtio::ChainId chain;
        BlockRequest request;
        std::vector<iovec> buffers;
        std::size_t next_buffer = 0; ///< what is before it is done
        std::uint64_t transferred = 0;
        std::size_t next_range = 0;
    };

    [[nodiscard]] std::expected<bool, virtio::RingFault> serve(virtio::QueueIndex, virtio::Virtqueue&) override;
    void on_activate(virtio::FeatureSet) override;
    void on_reset() override;
    [[nodiscard]] bool idle() const override { return free_slots_.size() == slots_.size(); }
    [[nodiscard]] bool waits(virtio::QueueIndex) const override { return throttle_.waits(); }

    /// False: the rate limiter does not let the request through now, and nothing was done.
    [[nodiscard]] bool start(const virtio::DescriptorChain&);
    [[nodiscard]] bool map_buffers(Slot&);
    void identify(Slot&);
    void advance(std::uint64_t index);
    void serve_completions();
    void completed(const IoCompletion&);
    void disk_failed(std::uint64_t index, int code);
    void no_longer_held(Slot&);
    void try_failed_again();
    void consume(Slot&, std::uint64_t bytes);
    void finish(std::uint64_t index, BlockStatus);
    void refuse(virtio::ChainId, const BlockRefusal&);
    void mark_written(const Slot&);
    void flush_engine();

    static constexpr virtio::QueueIndex requests{0};
    static constexpr std::array<std::uint16_t, 1> queue_sizes_{queue_size};
    EventLoop& loop_;
    GuestMemory& memory_;
    std::shared_ptr<const DiskImage> image_;
    std::unique_ptr<IoEngine> engine_;
    std::string id_;
    bool flush_;

    BlockLimits limits_;
    virtio::Throttle throttle_;
    bool write_through_ = false;
    std::vector<Slot> slots_;
    std::vector<std::uint64_t> free_slots_;
    BlockCounters counters_;
    Subscription completions_;
    Subscription retry_;
    std::vector<std::uint64_t> failed_; ///< slots whose request waits to be tried again
    Subscription try_again_;
    std::uint32_t held_ = 0; ///< requests, from the first failure of each to its answer
    int disk_error_ = 0;     ///< of the last one
};

} // namespace aerate
