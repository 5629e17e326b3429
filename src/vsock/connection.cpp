#include "vsock/connection.hpp"

#include "base/check.hpp"

#include <array>

namespace aerate::vsock {

Connection::Connection(const Header& request, Clock::time_point now)
    : phase_(Phase::answering)
    , request_told_(true)
    , guest_buffer_(request.buffer_size)
    , guest_forwarded_(request.forwarded)
    , deadline_(now + patience) {}

bool Connection::received(const Header& packet) {
    if (packet.op == Op::rst) {
        phase_ = Phase::over;
        due_ = 0;
        return false;
    }
    if (ended())
        return false;
    guest_buffer_ = packet.buffer_size;
    guest_forwarded_ = packet.forwarded;
    if (room() > 0)
        room_wanted_ = false;
    switch (packet.op) {
    case Op::response:
        if (phase_ == Phase::calling && request_told_) {
            phase_ = Phase::open;
            deadline_.reset();
        }
        return false;
    case Op::shutdown:
        if (phase_ == Phase::calling)
            return false;
        guest_shutdown_ |= packet.flags & shutdown_flag::both;
        // Linux waits for the RST before it lets go of the socket.
        if (guest_shutdown_ == shutdown_flag::both)
            kill();
        return false;
    case Op::rw:
        return took_payload(packet.length);
    case Op::credit_request:
        due_ |= bit(Op::credit_update);
        return false;
    default: // REQUEST: it has been answered. CREDIT_UPDATE: every header is one.
        return false;
    }
}

bool Connection::took_payload(std::uint32_t length) {
    const std::uint64_t unconfirmed = std::uint64_t{received_ - announced_} + length;
    if (phase_ != Phase::open || guest_sends_no_more() || unconfirmed > buffer_size) {
        kill();
        return false;
    }
    received_ += length;
    return length > 0;
}

void Connection::forwarded(std::uint32_t bytes) {
    CHECK(bytes <= buffered());
    forwarded_ += bytes;
    // Early enough that a guest which sends all the time need not wait.
    const bool half_used = received_ - announced_ >= buffer_size / 2;
    if (half_used && phase_ == Phase::open && !guest_sends_no_more())
        due_ |= bit(Op::credit_update);
}

void Connection::host_answered() {
    if (phase_ != Phase::answering)
        return;
    phase_ = Phase::open;
    deadline_.reset();
    due_ |= bit(Op::response);
}

void Connection::shut_down(std::uint32_t flags) {
    if (phase_ != Phase::open || (host_shutdown_ | flags) == host_shutdown_)
        return;
    host_shutdown_ |= flags;
    due_ |= bit(Op::shutdown);
}

void Connection::host_sends_no_more() {
    shut_down(shutdown_flag::sends_no_more);
}

void Connection::host_receives_no_more() {
    shut_down(shutdown_flag::receives_no_more);
}

void Connection::host_gone(Clock::time_point now) {
    if (phase_ != Phase::open)
        return kill();
    shut_down(shutdown_flag::both);
    if (!deadline_)
        deadline_ = now + patience;
}

void Connection::kill() {
    if (ended())
        return;
    phase_ = request_told_ ? Phase::killed : Phase::over;
    due_ = request_told_ ? bit(Op::rst) : 0;
    deadline_.reset();
}

void Connection::expire(Clock::time_point now) {
    if (deadline_ && now >= *deadline_)
        kill();
}

void Connection::restart_deadline(Clock::time_point now) {
    if (deadline_)
        deadline_ = now + patience;
}

Header Connection::take_control() {
    constexpr std::array urgency{Op::rst,           Op::request,        Op::response,
                                 Op::credit_update, Op::credit_request, Op::shutdown};
    for (const Op op : urgency) {
        if ((due_ & bit(op)) == 0)
            continue;
        due_ &= ~bit(op);
        if (op == Op::rst)
            phase_ = Phase::over;
        request_told_ |= op == Op::request;
        Header packet = header(op);
        if (op == Op::shutdown)
            packet.flags = host_shutdown_;
        return packet;
    }
    CHECK(false);
    return {};
}

bool Connection::may_send() const {
    return phase_ == Phase::open && !guest_receives_no_more() && host_is_read() && (due_ & bit(Op::response)) == 0;
}

std::uint32_t Connection::room() const {
    if (!may_send())
        return 0;
    // Guests shrink their buffers, and hostile ones say anything: see Linux's virtio_transport_has_space().
    const std::uint32_t in_flight = sent_ - guest_forwarded_;
    return guest_buffer_ > in_flight ? guest_buffer_ - in_flight : 0;
}

void Connection::want_room() {
    if (!may_send() || room_wanted_ || room() > 0)
        return;
    room_wanted_ = true;
    due_ |= bit(Op::credit_request);
}

Header Connection::take_data(std::uint32_t bytes) {
    CHECK(bytes <= room());
    sent_ += bytes;
    Header packet = header(Op::rw);
    packet.length = bytes;
    return packet;
}

Header Connection::header(Op op) {
    due_ &= ~bit(Op::credit_update);
    announced_ = forwarded_;
    return {.op = op, .buffer_size = buffer_size, .forwarded = forwarded_};
}

} // namespace aerate::vsock
