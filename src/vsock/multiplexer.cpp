#include "vsock/multiplexer.hpp"

#include "base/check.hpp"

#include <algorithm>
#include <utility>

namespace aerate::vsock {

void Multiplexer::set_driver(bool there) {
    CHECK(loop_.owned_here());
    driver_ = there;
    known_.clear();
    replies_.clear();
    ready_.clear();
    by_stream_.clear();
    renewals_.clear();
    unanswered_.clear();
    counters_.removed += entries_.size();
    entries_.clear();
    calls_.clear();
    if (!listening_ && !retry_listen_.active() && !paused_)
        listen(true);
}

// --- From the guest ------------------------------------------------------------------------------------------------

void Multiplexer::receive(const Header& packet, std::span<const iovec> payload, bool whole) {
    ++counters_.tx_packets;
    // Not answered: an answer would go to this guest, which is not the sender that the packet names.
    if (packet.destination_cid != host_cid || packet.source_cid != options_.guest_cid) {
        ++counters_.ignored;
        return;
    }
    const Ports ports{.host = packet.destination_port, .guest = packet.source_port};
    Entry* const entry = packet.type == stream_type ? find(ports) : nullptr;
    if (entry == nullptr) {
        if (packet.type == stream_type && packet.op == Op::request && whole)
            guest_calls(packet);
        else if (packet.op != Op::rst)
            reply_reset(ports, packet.type);
        return;
    }
    Connection& connection = entry->connection;
    if (!whole) {
        ++counters_.malformed;
        connection.kill();
    } else {
        const bool was_calling = connection.phase() == Connection::Phase::calling;
        if (connection.received(packet))
            take_payload(*entry, payload, packet.length);
        else if (packet.op == Op::rw && connection.ended())
            ++counters_.killed;
        if (was_calling && connection.phase() == Connection::Phase::open &&
            !entry->stream->write(fmt::format("OK {}\n", ports.host)))
            connection.host_receives_no_more(); // it may have said all before it went
    }
    settle(*entry);
}

void Multiplexer::take_payload(Entry& entry, std::span<const iovec> payload, std::uint32_t length) {
    counters_.tx_bytes += length;
    Connection& connection = entry.connection;
    const bool took_before = entry.stream->takes_more();
    const auto taken = took_before ? entry.stream->write(payload) : std::nullopt;
    if (taken)
        return connection.forwarded(static_cast<std::uint32_t>(*taken));
    counters_.tx_write_fails += took_before ? 1U : 0U;
    connection.forwarded(connection.buffered()); // to nowhere
    connection.host_receives_no_more();
}

void Multiplexer::guest_calls(const Header& request) {
    const Ports ports{.host = request.destination_port, .guest = request.source_port};
    if (full()) {
        ++counters_.refused;
        return reply_reset(ports, stream_type);
    }
    Entry& entry = add(ports, Connection(request, Clock::now()));
    call_host(entry);
    if (!entry.connection.ended())
        return settle(entry);
    remove(entry);
    reply_reset(ports, stream_type);
}

void Multiplexer::reply_reset(const Ports& ports, std::uint16_t type) {
    // takes_packets() was asked, and one packet is answered by one at most.
    Header reset = addressed({.op = Op::rst}, ports);
    reset.type = type;
    replies_.push_back(reset);
}

// --- To the guest --------------------------------------------------------------------------------------------------

std::uint64_t Multiplexer::deliver(virtio::Virtqueue& queue, RxBuffers& buffers) {
    const auto put = [&](const Header& header) {
        buffers.put(queue, header);
        ++counters_.rx_packets;
        return std::uint64_t{header_bytes};
    };
    if (!known_.empty()) {
        const Ports ports = known_.front();
        known_.pop_front();
        return put(addressed({.op = Op::rst}, ports));
    }
    if (!replies_.empty()) {
        const Header reply = replies_.front();
        replies_.pop_front();
        return put(reply);
    }
    Entry& entry = *ready_.front();
    ready_.pop_front();
    entry.queued = false;
    if (!entry.connection.has_control())
        return deliver_data(queue, buffers, entry);
    const Header control = addressed(entry.connection.take_control(), entry.ports);
    settle(entry);
    return put(control);
}

std::uint64_t Multiplexer::deliver_data(virtio::Virtqueue& queue, RxBuffers& buffers, Entry& entry) {
    Connection& connection = entry.connection;
    std::uint64_t moved = 0;
    const std::uint32_t most = std::min(connection.room(), payload_max);
    if (entry.stream && most > 0) {
        const auto got = entry.stream->read(buffers.room(most));
        switch (got.kind) {
        case HostStream::Read::Kind::data:
            buffers.put_data(queue, got.bytes, [&](std::uint32_t length) {
                ++counters_.rx_packets;
                return addressed(connection.take_data(length), entry.ports);
            });
            counters_.rx_bytes += got.bytes;
            moved = got.bytes;
            break;
        case HostStream::Read::Kind::nothing:
            break;
        case HostStream::Read::Kind::end:
            connection.host_sends_no_more();
            break;
        case HostStream::Read::Kind::failed:
            ++counters_.rx_read_fails;
            ++counters_.killed;
            connection.kill();
            break;
        }
    }
    settle(entry);
    return moved;
}

Header Multiplexer::addressed(Header header, const Ports& ports) const {
    header.source_cid = host_cid;
    header.destination_cid = options_.guest_cid;
    header.source_port = ports.host;
    header.destination_port = ports.guest;
    return header;
}

// --- Connections ---------------------------------------------------------------------------------------------------

Multiplexer::Entry* Multiplexer::find(const Ports& ports) {
    const auto found = entries_.find(key(ports));
    return found == entries_.end() ? nullptr : &found->second;
}

Multiplexer::Entry& Multiplexer::add(const Ports& ports, const Connection& connection) {
    ++counters_.added;
    return entries_.try_emplace(key(ports), Entry{.ports = ports, .connection = connection}).first->second;
}

void Multiplexer::settle(Entry& entry) {
    Connection& connection = entry.connection;
    if (entry.stream && !connection.ended()) {
        HostStream& stream = *entry.stream;
        if (connection.guest_sends_no_more() && stream.pending() == 0)
            stream.shut_writing();
        if (connection.guest_receives_no_more())
            stream.shut_reading();
        if (stream.hung_up() && (!connection.host_is_read() || connection.guest_receives_no_more()))
            connection.host_gone(Clock::now());
        if (stream.readable())
            connection.want_room();
    }
    if (connection.ended())
        close_stream(entry);
    if (connection.phase() == Connection::Phase::over)
        return remove(entry);
    arm(entry);
    const bool has_data = entry.stream && entry.stream->readable() && connection.room() > 0;
    if (!entry.queued && (has_data || connection.has_control())) {
        entry.queued = true;
        ready_.push_back(&entry);
    }
}

/// One timer for what the other side has to do within its time.
void Multiplexer::arm(Entry& entry) {
    const auto deadline = entry.connection.deadline();
    if (!deadline)
        return entry.timer.cancel();
    if (entry.timer.active() || paused_)
        return;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now());
    entry.timer = loop_.after(std::max(left, std::chrono::milliseconds(0)), [this, ports = entry.ports] {
        Entry* const late = find(ports);
        if (late == nullptr)
            return;
        late->timer.cancel();
        late->connection.expire(Clock::now());
        counters_.killed += late->connection.ended() ? 1U : 0U;
        settle(*late);
        packets_due_();
    });
}

/// What the guest sent before it hung up is still the host's.
void Multiplexer::close_stream(Entry& entry) {
    if (!entry.stream)
        return;
    by_stream_.erase(entry.id);
    renewals_.erase(entry.id);
    if (entry.stream->pending() > 0 && entry.connection.guest_sends_no_more())
        linger(std::move(*entry.stream), entry.id);
    entry.stream.reset();
}

void Multiplexer::remove(Entry& entry) {
    if (entry.queued)
        std::erase(ready_, &entry);
    ++counters_.removed;
    entries_.erase(key(entry.ports));
}

Multiplexer::Saved Multiplexer::save() const {
    Saved saved{.last_port = last_port_, .known = {known_.begin(), known_.end()}};
    for (const auto& [number, entry] : entries_)
        saved.known.push_back(entry.ports);
    for (const Header& reply : replies_)
        saved.known.push_back({.host = reply.source_port, .guest = reply.destination_port});
    return saved;
}

void Multiplexer::restore(const Saved& saved) {
    last_port_ = saved.last_port;
    known_.assign(saved.known.begin(), saved.known.end());
}

} // namespace aerate::vsock
