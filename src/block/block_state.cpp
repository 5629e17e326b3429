// What is kept of a disk when its VM is saved, and what it counts.
#include "base/check.hpp"
#include "base/codec.hpp"
#include "block/block.hpp"

namespace aerate {
namespace {

// Version 1: the size in bytes. Version 2: and the rate limiter. Without one an older monitor can read it.
constexpr std::uint32_t state_version = 2;

} // namespace

virtio::DeviceState Block::save() const {
    CHECK(loop_.owned_here());
    Encoder state;
    state(image_->size().value);
    const auto limiter = throttle_.save();
    if (limiter == protocol::RateLimiterState{})
        return {.version = 1, .bytes = state.take()};
    state(limiter);
    return {.version = 2, .bytes = state.take()};
}

Result<> Block::restore(const virtio::DeviceState& state) {
    if (state.version == 0 || state.version > state_version)
        return fail("its state has version {}, this monitor reads up to {}: use the monitor that saved it, or a later "
                    "one",
                    state.version, state_version);
    Decoder decoder(state.bytes);
    ByteCount size;
    decoder(size.value);
    protocol::RateLimiterState limiter;
    if (state.version >= 2)
        decoder(limiter);
    if (!decoder.complete())
        return fail("its saved state is malformed");
    if (size != image_->size())
        return fail("it had {} bytes when the guest was saved, and has {} now: give the disk that belongs to it",
                    size.value, image_->size().value);
    throttle_.restore(limiter);
    return {};
}

std::vector<virtio::Metric> Block::metrics() const {
    CHECK(loop_.owned_here());
    const std::vector<std::pair<std::string, std::string>> device{{"device", name()}};
    return {
        {"block_reads", "Read requests", counters_.reads, device},
        {"block_writes", "Write requests", counters_.writes, device},
        {"block_read_bytes", "Bytes read", counters_.read.value, device},
        {"block_written_bytes", "Bytes written", counters_.written.value, device},
        {"block_flushes", "Flush requests", counters_.flushes, device},
        {"block_discards", "Discard and write-zeroes requests", counters_.discards, device},
        {"block_failed", "Requests that the host's disk failed, each attempt", counters_.failed, device},
        {"block_held", "Requests that waited because the host's disk had failed them", counters_.held, device},
        {"block_throttled", "Times that the rate limiter made requests wait", throttle_.throttled(), device},
        {"guest_block_refused", "Malformed requests", counters_.refused, device},
    };
}

} // namespace aerate
