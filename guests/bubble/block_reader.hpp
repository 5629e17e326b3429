// Reads from a virtio block device (virtio 1.2, 5.2), so that there is a writer of guest memory which is no vCPU.
#pragma once

#include "guestkit/channel.hpp"
#include "machine.hpp"

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>

namespace bubble {

class BlockReader {
public:
    static constexpr std::uint32_t device_type = 2;

    /// REQUIRES: the transport outlives this.
    [[nodiscard]] static std::optional<BlockReader> open(Transport& transport, guestkit::Arena arena) {
        const auto buffers = arena.cut({max_requests * buffer_bytes});
        if (!buffers || !transport.negotiate(virtio::FeatureSet{}.with(virtio::feature::version_1)))
            return std::nullopt;
        const auto channel = Channel::open(transport, arena, 0, {});
        if (!channel)
            return std::nullopt;
        transport.start();
        return BlockReader(*buffers, *channel);
    }

    /// Queues a read of one page. False when too many are under way.
    [[nodiscard]] bool read(FrameNumber into, std::uint64_t sector) {
        for (std::uint32_t slot = 0; slot < max_requests; ++slot) {
            if (busy_[slot])
                continue;
            const Header header{.sector = sector};
            std::memcpy(buffers_.host + slot * buffer_bytes, &header, sizeof header);
            const std::uint64_t base = buffers_.guest.value + slot * buffer_bytes;
            const std::array<virtio::DriverBuffer, 3> chain{{{{base}, sizeof header, false},
                                                             {address_of(into), page_size.value, true},
                                                             {{base + sizeof header}, 1, true}}};
            if (!channel_.add(chain, slot))
                return false;
            busy_[slot] = true;
            channel_.flush();
            return true;
        }
        return false;
    }
    /// How many reads have ended since the last call.
    [[nodiscard]] std::uint64_t take_used() {
        std::uint64_t count = 0;
        while (const auto used = channel_.take_used()) {
            busy_[used->token] = false;
            ++count;
        }
        return count;
    }

private:
    using Channel = guestkit::Channel<virtio::SplitDriver, Transport>;
    struct Header {
        std::uint32_t type = 0; // VIRTIO_BLK_T_IN
        std::uint32_t reserved = 0;
        std::uint64_t sector = 0;
    };
    static constexpr std::uint32_t max_requests = 16;
    static constexpr std::uint32_t buffer_bytes = 32; ///< the header, and the status byte

    BlockReader(virtio::RingMemory buffers, Channel channel)
        : buffers_(buffers)
        , channel_(channel) {}

    virtio::RingMemory buffers_;
    Channel channel_;
    std::array<bool, max_requests> busy_{};
};

} // namespace bubble
