// What the driver asks for on the control queue, and what it is told by the config space.
#include "base/check.hpp"
#include "net/control_command.hpp"
#include "net/net.hpp"
#include "virtio/take_chains.hpp"

#include <algorithm>
#include <array>
#include <variant>

namespace aerate {

using namespace net;

namespace {

constexpr std::byte ok{0};
constexpr std::byte error{1};

/// The readable bytes, however they are split. More than `into` holds are read no further: no command has so many.
std::span<const std::byte> gather(const GuestMemory& memory, std::span<const virtio::Buffer> buffers,
                                  std::span<std::byte> into) {
    std::size_t size = 0;
    for (const virtio::Buffer& buffer : buffers) {
        const auto piece = into.subspan(size, std::min<std::size_t>(buffer.length, into.size() - size));
        if (!memory.read(buffer.address, piece))
            return {};
        size += piece.size();
    }
    return into.first(size);
}

} // namespace

Net::Served Net::control(virtio::Virtqueue& queue) {
    return take_chains(queue, queue.size(),
                       [&](const virtio::DescriptorChain& chain) { queue.complete(chain.id, answer(chain)); });
}

std::uint32_t Net::answer(const virtio::DescriptorChain& chain) {
    const auto ack = std::ranges::find_if(chain.writable, [](const auto& buffer) { return buffer.length > 0; });
    // 5.1.6.5: without a byte for the answer it is no command.
    const bool done = ack != chain.writable.end() && memory_.contains(ack->address, ByteCount{1}) && carry_out(chain);
    counters_.control_refused += done ? 0 : 1;
    if (ack == chain.writable.end())
        return 0;
    const std::byte code = done ? ok : error;
    return memory_.write(ack->address, {&code, 1}) ? 1 : 0;
}

bool Net::carry_out(const virtio::DescriptorChain& chain) {
    std::array<std::byte, control_command_max> bytes{};
    const auto command = parse_control_command(gather(memory_, chain.readable, bytes), accepted_, pairs());
    if (!command)
        return false;
    if (const auto* const set = std::get_if<SetGuestOffloads>(&*command)) {
        set_offloads(set->features);
    } else if (const auto* const set_pairs = std::get_if<SetPairs>(&*command)) {
        return use_pairs(set_pairs->pairs);
    } else {
        // Before the command is used (5.1.6.5.4.2).
        announce_bit_ = false;
        announcement_.reset();
        next_round_.cancel();
    }
    return true;
}

void Net::announce() {
    CHECK(loop_.owned_here());
    announcement_.emplace();
    if (active() && !paused())
        announce_now();
}

/// A driver without GUEST_ANNOUNCE says nothing itself, but the bridge learns all the same.
void Net::announce_now() {
    const auto frame = reverse_arp(options_.mac);
    const iovec piece{const_cast<std::byte*>(frame.data()), frame.size()};
    if (back_end().send({&piece, 1}) == Outcome::done)
        ++counters_.announcements;
    if (accepted_.has(feature::guest_announce)) {
        announce_bit_ = true;
        config_changed();
    }
    const auto pause = announcement_->announced();
    if (!pause) {
        announcement_.reset();
        return;
    }
    next_round_ = loop_.after(*pause, [this] {
        next_round_.cancel();
        announce_now();
    });
}

void Net::begin_pulse() {
    pulse_ = Pulse::down;
    config_changed();
    // Should the driver not look, its link is not to stay down.
    pulse_end_ = loop_.after(std::chrono::seconds(2), [this] { end_pulse(); });
}

void Net::end_pulse() {
    pulse_end_.cancel();
    pulse_ = Pulse::none;
    config_changed();
}

} // namespace aerate
