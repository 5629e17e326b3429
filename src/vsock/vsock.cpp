#include "vsock/vsock.hpp"

#include "base/check.hpp"
#include "base/codec.hpp"
#include "base/endian.hpp"
#include "base/log.hpp"
#include "virtio/host_pieces.hpp"
#include "virtio/take_chains.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace aerate::vsock {

template <typename Codec>
void describe(Codec& codec, Described<Codec, Ports>& ports) {
    codec(ports.host, ports.guest);
}

namespace {

constexpr std::uint32_t state_version = 1;
/// More than any device has connections and answers.
constexpr std::size_t saved_ports_max = 1U << 16;
constexpr std::uint32_t transport_reset = 0; // virtio 1.2, 5.10.6.7
constexpr std::uint32_t event_bytes = 4;

struct SavedVsock {
    bool reset_told = false;
    std::uint32_t last_port = 0;
    std::vector<Ports> known{};
};

template <typename Codec>
void describe(Codec& codec, Described<Codec, SavedVsock>& saved) {
    codec(saved.reset_told, saved.last_port, saved.known);
}

/// Copies the first bytes of the pieces, which are taken off them. False when there are too few.
bool take_bytes(std::vector<iovec>& pieces, std::span<std::byte> into) {
    for (iovec& piece : pieces) {
        const auto part = into.first(std::min(into.size(), piece.iov_len));
        if (!part.empty())
            std::memcpy(part.data(), piece.iov_base, part.size());
        piece.iov_base = static_cast<std::byte*>(piece.iov_base) + part.size();
        piece.iov_len -= part.size();
        into = into.subspan(part.size());
    }
    return into.empty();
}

/// Cuts the pieces to so many bytes. False when there are fewer.
bool cut(std::vector<iovec>& pieces, std::uint64_t length) {
    for (iovec& piece : pieces) {
        piece.iov_len = std::min<std::uint64_t>(piece.iov_len, length);
        length -= piece.iov_len;
    }
    std::erase_if(pieces, [](const iovec& piece) { return piece.iov_len == 0; });
    return length == 0;
}

} // namespace

Result<std::unique_ptr<Vsock>> Vsock::create(EventLoop& loop, GuestMemory& memory,
                                             std::shared_ptr<const UnixListener> listener, const Options& options) {
    std::unique_ptr<Vsock> made(new Vsock(loop, memory, options));
    made->multiplexer_ = TRY(Multiplexer::create(loop, std::move(listener), options.connections,
                                                 [raw = made.get()] { raw->serve_again(rx); }));
    return made;
}

Vsock::Vsock(EventLoop& loop, GuestMemory& memory, const Options& options)
    : Device("vsock")
    , loop_(loop)
    , memory_(memory)
    , options_(options)
    , rx_buffers_(memory) {}

void Vsock::read_config(std::uint32_t offset, std::span<std::byte> into) {
    std::array<std::byte, 8> cid{};
    store_little_endian(std::span<std::byte>(cid), std::uint64_t{options_.connections.guest_cid});
    for (std::byte& byte : into) {
        byte = offset < cid.size() ? cid[offset] : std::byte{0};
        offset += offset < cid.size() ? 1 : 0;
    }
}

// --- Rings ---------------------------------------------------------------------------------------------------------

std::expected<bool, virtio::RingFault> Vsock::serve(virtio::QueueIndex index, virtio::Virtqueue& queue) {
    CHECK(loop_.owned_here());
    ++kicks_[index.value];
    if (index == rx)
        return deliver(queue);
    if (index == tx)
        return take(queue);
    look_for_notice(queue);
    return false;
}

bool Vsock::leaves_buffers(virtio::QueueIndex index) const {
    if (index == rx)
        return reset_ != Reset::none || !multiplexer_->has_packets();
    return index == event || !multiplexer_->takes_packets();
}

std::expected<bool, virtio::RingFault> Vsock::deliver(virtio::Virtqueue& queue) {
    const bool was_full = !multiplexer_->takes_packets();
    std::uint64_t moved = 0;
    while (moved < turn_bytes && reset_ == Reset::none && multiplexer_->has_packets() && TRY(rx_buffers_.refill(queue)))
        moved += multiplexer_->deliver(queue, rx_buffers_);
    if (was_full && multiplexer_->takes_packets())
        host().kick_again(tx);
    return moved >= turn_bytes;
}

std::expected<bool, virtio::RingFault> Vsock::take(virtio::Virtqueue& queue) {
    std::uint64_t moved = 0;
    bool more = true;
    // What might have to be answered is not taken while there is no room for answers (virtio 1.2, 5.10.6.1.2).
    if (multiplexer_->takes_packets())
        more = TRY(virtio::take_chains(queue, queue.size(), [&](const virtio::DescriptorChain& chain) {
            moved += take_packet(chain.readable);
            queue.complete(chain.id, 0);
            return moved < turn_bytes && multiplexer_->takes_packets();
        }));
    if (multiplexer_->has_packets())
        serve_again(rx);
    return more;
}

// Bytes count, not descriptors: drivers put header and payload into one or many.
std::uint64_t Vsock::take_packet(std::span<const virtio::Buffer> buffers) {
    packet_.clear();
    std::array<std::byte, header_bytes> bytes{};
    const bool mapped = std::ranges::all_of(
        buffers, [this](const virtio::Buffer& buffer) { return virtio::append_host_pieces(memory_, buffer, packet_); });
    if (!mapped || !take_bytes(packet_, bytes)) {
        multiplexer_->count_malformed();
        return header_bytes;
    }
    const Header header = decode(bytes);
    const bool whole = header.length <= payload_max && cut(packet_, header.length);
    multiplexer_->receive(header, packet_, whole);
    return header_bytes + std::min(header.length, payload_max);
}

// --- Life ----------------------------------------------------------------------------------------------------------

void Vsock::on_activate(virtio::FeatureSet) {
    CHECK(loop_.owned_here());
    multiplexer_->set_driver(true);
}

void Vsock::on_reset() {
    CHECK(loop_.owned_here());
    rx_buffers_.forget();
    multiplexer_->set_driver(false);
    reset_ = Reset::none;
    reset_timer_.cancel();
}

void Vsock::on_pause() {
    multiplexer_->pause();
    reset_timer_.cancel();
    if (virtio::Virtqueue* const queue = virtqueue(rx))
        rx_buffers_.give_back(*queue);
}

void Vsock::on_resume() {
    multiplexer_->resume();
    if (reset_ == Reset::due)
        tell_reset();
    if (reset_ == Reset::told)
        await_notice();
}

/// All buffers go back, those that are not needed empty: the kick by which the guest offers them again is wanted then,
/// as it would not be while there are others in the ring (2.7.10), and shows that it has handled the event.
void Vsock::tell_reset() {
    reset_ = Reset::none;
    virtio::Virtqueue* const queue = virtqueue(event);
    if (queue == nullptr)
        return;
    bool told = false;
    for (unsigned tries = queue->size(); tries > 0; --tries) {
        const auto chain = queue->pop();
        if (!chain || !*chain) // a broken ring is found when it is served
            break;
        const bool tells = !told && write_event(**chain);
        queue->complete((*chain)->id, tells ? event_bytes : 0);
        told |= tells;
    }
    queue->want_kicks(true);
    publish(event);
    if (told) {
        ++resets_told_;
        reset_ = Reset::told;
        return;
    }
    static log::GuestLogLimit limit;
    if (limit.allow())
        log::warning("vsock: the guest has no buffer for the event that its connections are gone; each is reset");
}

bool Vsock::write_event(const virtio::DescriptorChain& chain) {
    std::array<std::byte, event_bytes> bytes{};
    store_little_endian(std::span<std::byte>(bytes), transport_reset);
    std::span<const std::byte> rest(bytes);
    for (const virtio::Buffer& buffer : chain.writable) {
        const auto part = rest.first(std::min<std::size_t>(rest.size(), buffer.length));
        if (!memory_.write(buffer.address, part))
            return false;
        rest = rest.subspan(part.size());
    }
    return rest.empty();
}

void Vsock::await_notice() {
    // Should its interrupt have been lost with the machine that it was raised in.
    if (active())
        host().interrupt_queue(event);
    reset_timer_ = loop_.after(options_.reset_patience, [this] {
        ++resets_not_noticed_;
        open_gate();
    });
}

/// A kick alone proves nothing: resume() kicks as well.
void Vsock::look_for_notice(virtio::Virtqueue& queue) {
    if (reset_ == Reset::told && queue.available() > 0)
        open_gate();
}

void Vsock::open_gate() {
    reset_ = Reset::none;
    reset_timer_.cancel();
    serve_again(rx);
}

// --- Saved state ---------------------------------------------------------------------------------------------------

virtio::DeviceState Vsock::save() const {
    CHECK(loop_.owned_here());
    auto saved = multiplexer_->save();
    Encoder state;
    state(
        SavedVsock{.reset_told = reset_ == Reset::told, .last_port = saved.last_port, .known = std::move(saved.known)});
    return {.version = state_version, .bytes = state.take()};
}

Result<> Vsock::restore(const virtio::DeviceState& state) {
    if (state.version != state_version)
        return fail(
            "it has a state of version {}, and this monitor knows version {}: use the monitor that saved it, or "
            "a later one",
            state.version, state_version);
    SavedVsock saved;
    Decoder decoder(state.bytes);
    decoder(saved);
    if (!decoder.complete() || saved.known.size() > saved_ports_max)
        return fail("its state is malformed");
    multiplexer_->restore({.last_port = saved.last_port, .known = std::move(saved.known)});
    if (!active()) // no driver, or one whose ring is broken: it knows no connections, or will reset the device
        return {};
    reset_ = saved.reset_told ? Reset::told : Reset::due;
    return {};
}

std::vector<virtio::Metric> Vsock::metrics() const {
    CHECK(loop_.owned_here());
    const Counters& counted = multiplexer_->counters();
    std::vector<virtio::Metric> metrics;
    const auto add = [&](const char* metric, const char* help, std::uint64_t value) {
        metrics.push_back({metric, help, value, {{"device", name()}}});
    };
    // The names are Firecracker's where it counts the same.
    add("vsock_rx_queue_event_count", "Kicks of the queue of packets to the guest", kicks_[rx.value]);
    add("vsock_tx_queue_event_count", "Kicks of the queue of packets from the guest", kicks_[tx.value]);
    add("vsock_conns_added", "Connections made or tried", counted.added);
    add("vsock_conns_removed", "Connections that are gone", counted.removed);
    add("vsock_conns_killed", "Connections that were ended for a fault, or for want of an answer", counted.killed);
    add("vsock_conns_refused", "Calls that became no connection", counted.refused);
    add("vsock_rx_packets_count", "Packets to the guest", counted.rx_packets);
    add("vsock_rx_bytes_count", "Bytes to the guest, without headers", counted.rx_bytes);
    add("vsock_rx_read_fails", "Streams of the host's that could not be read", counted.rx_read_fails);
    add("vsock_tx_packets_count", "Packets from the guest", counted.tx_packets);
    add("vsock_tx_bytes_count", "Bytes from the guest, without headers", counted.tx_bytes);
    add("vsock_tx_write_fails", "Streams of the host's that took no more", counted.tx_write_fails);
    add("vsock_packets_ignored", "Packets from or to a CID that is not here", counted.ignored);
    add("vsock_packets_malformed", "Packets that were less than they said", counted.malformed);
    add("vsock_resets_told", "Times the guest was told that its connections are gone", resets_told_);
    add("vsock_resets_not_noticed", "Of these, those that it did not take notice of in time", resets_not_noticed_);
    return metrics;
}

} // namespace aerate::vsock
