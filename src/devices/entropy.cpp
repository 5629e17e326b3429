#include "devices/entropy.hpp"

#include "base/check.hpp"
#include "devices/serve_queue.hpp"

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

} // namespace

void Entropy::read_config(std::uint32_t, std::span<std::byte> into) {
    std::ranges::fill(into, std::byte{0});
}

void Entropy::activate(const virtio::Activation& activation) {
    host_ = activation.host;
    queue_ = activation.queues[0];
}

void Entropy::kicked(virtio::QueueIndex index) {
    if (queue_ == nullptr || index.value != 0 || paused_)
        return;
    std::uint64_t budget = kick_limit.value;
    serve_queue(*queue_, *host_, index, [&](const virtio::DescriptorChain& chain) {
        const std::uint32_t written = fill(chain.writable);
        queue_->complete(chain.id, written);
        budget -= std::min<std::uint64_t>(budget, written);
        return budget > 0;
    });
    if (queue_->publish())
        host_->interrupt_queue(index);
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

void Entropy::reset() {
    queue_ = nullptr;
}

void Entropy::pause(EventLoop::Callback quiesced) {
    paused_ = true;
    quiesced();
}

void Entropy::resume() {
    paused_ = false;
    if (queue_ != nullptr)
        host_->kick_again({0});
}

} // namespace aerate
