#include "entropy/entropy.hpp"

#include "base/check.hpp"
#include "base/codec.hpp"
#include "virtio/take_chains.hpp"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>

namespace aerate {
namespace {

void get_random(std::span<std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t got = ::getrandom(bytes.data(), bytes.size(), 0);
        CHECK(got > 0 || errno == EINTR);
        if (got > 0)
            bytes = bytes.subspan(static_cast<std::size_t>(got));
    }
}

/// What the chain will be filled with.
std::uint64_t room(std::span<const virtio::Buffer> buffers) {
    std::uint64_t bytes = 0;
    for (const virtio::Buffer& buffer : buffers)
        bytes += buffer.length;
    return std::min(bytes, Entropy::chain_limit.value);
}

} // namespace

std::expected<bool, virtio::RingFault> Entropy::serve(virtio::QueueIndex, virtio::Virtqueue& queue) {
    std::uint64_t budget = kick_limit.value;
    return take_chains(queue, queue.size(), [&](const virtio::DescriptorChain& chain) {
        if (!throttle_.take(room(chain.writable))) {
            queue.give_back(chain.id);
            return false;
        }
        const std::uint32_t written = fill(chain.writable);
        queue.complete(chain.id, written);
        budget -= std::min<std::uint64_t>(budget, written);
        return budget > 0;
    });
}

std::uint32_t Entropy::fill(std::span<const virtio::Buffer> buffers) {
    std::array<std::byte, 4096> random;
    std::uint32_t written = 0;
    for (const virtio::Buffer& buffer : buffers) {
        std::uint32_t filled = 0;
        while (filled < buffer.length && written < chain_limit.value) {
            const auto length = std::min({static_cast<std::uint64_t>(buffer.length - filled),
                                          chain_limit.value - written, std::uint64_t{random.size()}});
            const auto address = buffer.address.plus(ByteCount{filled});
            const auto piece = std::span(random).first(length);
            get_random(piece);
            if (!address || !memory_.write(*address, piece))
                return written;
            filled += static_cast<std::uint32_t>(length);
            written += static_cast<std::uint32_t>(length);
            delivered_ += ByteCount{length};
        }
    }
    return written;
}

// Version 0: nothing. Version 1: the rate limiter.
virtio::DeviceState Entropy::save() const {
    const auto limiter = throttle_.save();
    if (limiter == protocol::RateLimiterState{})
        return {};
    Encoder state;
    state(limiter);
    return {.version = 1, .bytes = state.take()};
}

Result<> Entropy::restore(const virtio::DeviceState& state) {
    if (state.version == 0)
        return {};
    if (state.version > 1)
        return fail("its state has version {}, this monitor reads up to 1: use the monitor that saved it, or a later "
                    "one",
                    state.version);
    protocol::RateLimiterState limiter;
    Decoder decoder(state.bytes);
    decoder(limiter);
    if (!decoder.complete())
        return fail("its saved state is malformed");
    throttle_.restore(limiter);
    return {};
}

std::vector<virtio::Metric> Entropy::metrics() const {
    const std::vector<std::pair<std::string, std::string>> device{{"device", name()}};
    return {{"entropy_bytes", "Random bytes that the guest was given", delivered_.value, device},
            {"entropy_throttled", "Times that the rate limiter made requests wait", throttle_.throttled(), device}};
}

} // namespace aerate
