// virtio-block (virtio 1.2, 5.2) over a raw image, one queue.
//
// A request's life: pop and parse; the engine reads or writes guest memory directly; what is left after a short
// transfer is submitted again; status byte, used ring, interrupt. A disk that fails answers IOERR and the guest
// decides.
//
// A buffer that the disk may fill counts as written from pop to completion: it is recorded in the write log at both
// ends, so whoever harvests the log in between still finds the page at the next harvest.
#pragma once

#include "base/error.hpp"
#include "devices/block_request.hpp"
#include "devices/disk_image.hpp"
#include "devices/io_engine.hpp"
#include "event/event_loop.hpp"
#include "memory/guest_memory.hpp"
#include "virtio/device.hpp"

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
    std::uint64_t refused = 0; ///< the request made no sense
};

class Block final : public virtio::Device {
public:
    static constexpr std::uint16_t queue_size = 256;
    /// Header and status need a descriptor each.
    static constexpr std::uint32_t max_segments = queue_size - 2;
    static constexpr std::uint32_t max_range_sectors = 1U << 22;
    static constexpr std::uint32_t max_range_segments = 16;

    /// `id` is what the guest sees as the serial number; cut to 20 bytes.
    [[nodiscard]] static Result<std::unique_ptr<Block>> create(EventLoop&, GuestMemory&, DiskImage, std::string id);
    /// With an engine of the caller's, made for the image and for `queue_size` operations.
    Block(EventLoop&, GuestMemory&, DiskImage, std::unique_ptr<IoEngine>, std::string id);
    ~Block() override;

    [[nodiscard]] virtio::DeviceType type() const override { return virtio::DeviceType::block; }
    [[nodiscard]] virtio::FeatureSet offered_features() const override;
    [[nodiscard]] std::span<const std::uint16_t> queue_sizes() const override { return queue_sizes_; }
    void read_config(std::uint32_t offset, std::span<std::byte> into) override;
    void write_config(std::uint32_t, std::span<const std::byte>, virtio::FeatureSet) override {}
    void activate(const virtio::Activation&) override;
    void kicked(virtio::QueueIndex) override;
    void reset() override;
    void pause(EventLoop::Callback quiesced) override;
    void resume() override;

    [[nodiscard]] const DiskImage& image() const { return image_; }
    [[nodiscard]] const BlockCounters& counters() const { return counters_; }

private:
    /// One request in flight. Slots are used again, so that their vectors rarely allocate.
    struct Slot {
        bool in_flight = false;
        virtio::ChainId chain;
        BlockRequest request;
        std::vector<iovec> buffers;
        std::size_t next_buffer = 0; ///< what is before it is done
        std::uint64_t transferred = 0;
        std::size_t next_range = 0;
    };

    void start(const virtio::DescriptorChain&);
    [[nodiscard]] bool map_buffers(Slot&);
    void identify(Slot&);
    void advance(std::uint64_t index);
    void serve_completions();
    void completed(const IoCompletion&);
    void consume(Slot&, std::uint64_t bytes);
    void finish(std::uint64_t index, BlockStatus);
    void refuse(virtio::ChainId, const BlockRefusal&);
    void mark_written(const Slot&);
    [[nodiscard]] bool idle() const { return free_slots_.size() == slots_.size(); }
    void flush_engine();
    void publish();

    static constexpr std::array<std::uint16_t, 1> queue_sizes_{queue_size};
    EventLoop& loop_;
    GuestMemory& memory_;
    DiskImage image_;
    std::unique_ptr<IoEngine> engine_;
    std::string id_;

    virtio::Virtqueue* queue_ = nullptr;
    virtio::DeviceHost* host_ = nullptr;
    BlockLimits limits_;
    bool write_through_ = false;
    std::vector<Slot> slots_;
    std::vector<std::uint64_t> free_slots_;
    bool paused_ = false;
    EventLoop::Callback quiesced_;
    BlockCounters counters_;
    Subscription completions_;
    Subscription retry_;
};

} // namespace aerate
