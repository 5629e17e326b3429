// One connection between a process on the host and one in the guest, as a state machine: what has happened goes in, the
// packets that are due come out. It knows no sockets, no memory and no clock; vsock/multiplexer.hpp carries it out.
//
//     host calls:   calling ── RESPONSE ──▶ open          guest calls:   answering ── host_answered() ──▶ open
//
// Each direction ends by itself: what the host sends, when its stream has ended (SHUTDOWN with sends_no_more, after the
// last byte), what the guest sends, when its SHUTDOWN says so. Where the guest has ended both, or does not answer a
// host that has, RST is sent.
//
// Credit (virtio 1.2, 5.10.6.3): each side says how much it has room for and how much it has passed on, as 32-bit
// counts that wrap. A guest that sends more than there was room for breaks the protocol, and the connection.
#pragma once

#include "vsock/packet.hpp"

#include <chrono>
#include <cstdint>
#include <optional>

namespace aerate::vsock {

class Connection {
public:
    using Clock = std::chrono::steady_clock;

    /// What is kept for a host that does not read, at most: buf_alloc.
    static constexpr std::uint32_t buffer_size = 64U << 10;
    /// How long the other side may take to answer a call, or to let go.
    static constexpr std::chrono::seconds patience{2};

    enum class Phase : std::uint8_t {
        calling,   ///< the guest is to answer the host's call
        answering, ///< the host is to answer the guest's call
        open,
        killed, ///< RST is due
        over,   ///< nothing is due, and nothing will be
    };

    /// The host calls.
    explicit Connection(Clock::time_point now)
        : due_(bit(Op::request))
        , deadline_(now + patience) {}
    /// The guest does, by `request`.
    Connection(const Header& request, Clock::time_point now);

    [[nodiscard]] Phase phase() const { return phase_; }
    [[nodiscard]] bool ended() const { return phase_ == Phase::killed || phase_ == Phase::over; }

    // --- What happens ---

    /// A packet of the guest's. True: its payload goes to the host.
    [[nodiscard]] bool received(const Header&);
    /// The host has taken so much of that.
    void forwarded(std::uint32_t bytes);
    void host_answered();
    /// The host's stream has ended: no byte comes after those that were read.
    void host_sends_no_more();
    void host_receives_no_more();
    /// Both, and for good.
    void host_gone(Clock::time_point now);
    /// It comes to nothing: the guest is told, if it knows of the connection.
    void kill();
    /// Kills it if its time is over.
    void expire(Clock::time_point now);
    /// Time did not run for the guest.
    void restart_deadline(Clock::time_point now);

    // --- What is due ---

    /// Whether a packet without payload is due.
    [[nodiscard]] bool has_control() const { return due_ != 0; }
    /// The most urgent of them, which counts as sent. REQUIRES: has_control().
    [[nodiscard]] Header take_control();
    /// How much the guest has room for. What is asked while that is 0 has a CREDIT_REQUEST sent, once.
    [[nodiscard]] std::uint32_t room() const;
    void want_room();
    /// The header of so much data, which counts as sent. REQUIRES: no more than room().
    [[nodiscard]] Header take_data(std::uint32_t bytes);

    [[nodiscard]] bool guest_sends_no_more() const { return (guest_shutdown_ & shutdown_flag::sends_no_more) != 0; }
    [[nodiscard]] bool guest_receives_no_more() const {
        return (guest_shutdown_ & shutdown_flag::receives_no_more) != 0;
    }
    /// What the host's stream still has is of no use, or there is nothing.
    [[nodiscard]] bool host_is_read() const { return (host_shutdown_ & shutdown_flag::sends_no_more) == 0; }
    [[nodiscard]] std::optional<Clock::time_point> deadline() const { return deadline_; }
    /// What the guest has sent and the host has not taken.
    [[nodiscard]] std::uint32_t buffered() const { return received_ - forwarded_; }

private:
    static constexpr unsigned bit(Op op) { return 1U << static_cast<unsigned>(op); }
    void shut_down(std::uint32_t flags);
    /// Fills in what all headers have; the multiplexer adds CIDs and ports.
    [[nodiscard]] Header header(Op);
    [[nodiscard]] bool took_payload(std::uint32_t length);
    /// Whether data may go to the guest, as far as it has room.
    [[nodiscard]] bool may_send() const;

    Phase phase_ = Phase::calling;
    unsigned due_ = 0; ///< a bit for each Op
    bool request_told_ = false;
    bool room_wanted_ = false;
    std::uint32_t guest_shutdown_ = 0;
    std::uint32_t host_shutdown_ = 0;
    std::uint32_t guest_buffer_ = 0;    ///< of the guest's last packet
    std::uint32_t guest_forwarded_ = 0; ///< the same
    std::uint32_t sent_ = 0;            ///< to the guest, modulo 2^32
    std::uint32_t received_ = 0;        ///< from the guest
    std::uint32_t forwarded_ = 0;       ///< of that, to the host
    std::uint32_t announced_ = 0;       ///< of that, what the guest knows
    std::optional<Clock::time_point> deadline_;
};

} // namespace aerate::vsock
