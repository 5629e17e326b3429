// All connections of a guest: which there are, their sockets on the host, and whose packet is next. What a connection
// may do is its state machine's to say (connection.hpp); rings are the device's (vsock.hpp).
//
// Host to guest: a client connects to the listener and says "CONNECT <port>\n"; when the guest has answered it reads
// "OK <host port>\n". Guest to host: a call of port P connects to the socket "<path of the listener>_<P>".
//
// Lives on one event loop, and never waits there: sockets do not block, each turn moves a bounded number of bytes.
#pragma once

#include "base/error.hpp"
#include "base/unix_listener.hpp"
#include "base/unix_socket.hpp"
#include "event/event_loop.hpp"
#include "vsock/connect_command.hpp"
#include "vsock/connection.hpp"
#include "vsock/host_stream.hpp"
#include "vsock/packet.hpp"
#include "vsock/readiness.hpp"
#include "vsock/rx_buffers.hpp"

#include <sys/uio.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace aerate::vsock {

struct Counters {
    std::uint64_t added = 0;         ///< connections
    std::uint64_t removed = 0;       ///< of these, gone
    std::uint64_t killed = 0;        ///< of these, not by their ends
    std::uint64_t refused = 0;       ///< calls that became no connection
    std::uint64_t rx_packets = 0;    ///< to the guest
    std::uint64_t rx_bytes = 0;      ///< of payload
    std::uint64_t rx_read_fails = 0; ///< of a host's stream
    std::uint64_t tx_packets = 0;    ///< from the guest
    std::uint64_t tx_bytes = 0;
    std::uint64_t tx_write_fails = 0; ///< the host takes no more
    std::uint64_t ignored = 0;        ///< packets of or to somebody else
    std::uint64_t malformed = 0;      ///< packets that are less than they say
};

class Multiplexer {
public:
    struct Options {
        std::uint32_t guest_cid = 3;
        unsigned max_connections = 1024;
        unsigned max_calls = 64; ///< who has connected and not said where to
        std::chrono::milliseconds call_patience{2000};
        std::chrono::milliseconds linger{30'000}; ///< for a slow host to read what the guest sent before it hung up
    };
    /// Packets that wait for room among the guest's buffers and belong to no connection. Beyond these nothing is taken
    /// from the guest.
    static constexpr std::size_t replies_max = 256;
    /// So many calls of renewal_port are answered at a time: each costs two descriptors.
    static constexpr std::size_t renewals_max = 4;
    /// Ports of the host's calls are from here on, below 2^31.
    static constexpr std::uint32_t first_host_port = 1U << 30;

    /// `packets_due` is called on the loop when the host has done something of which the guest may have to know.
    [[nodiscard]] static Result<std::unique_ptr<Multiplexer>> create(EventLoop&, std::shared_ptr<const UnixListener>,
                                                                     const Options&, std::function<void()> packets_due);

    /// Whether there is a driver. Without one who calls is turned away, and there are no connections.
    void set_driver(bool there);
    /// The host waits: it is neither read nor answered, and no time runs.
    void pause();
    void resume();

    // --- From the guest ---

    /// Whether there is room for what might have to be answered.
    [[nodiscard]] bool takes_packets() const { return replies_.size() < replies_max; }
    /// A packet, and where its payload is. `whole`: as much as its header says.
    void receive(const Header&, std::span<const iovec> payload, bool whole);
    /// One that has not even a header.
    void count_malformed() { ++counters_.malformed; }

    // --- To the guest ---

    [[nodiscard]] bool has_packets() const { return !known_.empty() || !replies_.empty() || !ready_.empty(); }
    /// Fills buffers with what is due to one connection, if there is something. Returns how many bytes it was worth.
    /// REQUIRES: has_packets(), and the buffers are not empty.
    std::uint64_t deliver(virtio::Virtqueue&, RxBuffers&);

    /// What a copy of this guest needs to know, whose connections have no other end.
    struct Saved {
        std::uint32_t last_port = 0;
        std::vector<Ports> known; ///< to the guest, as connections
    };
    [[nodiscard]] Saved save() const;
    /// Has RST due for each of them.
    void restore(const Saved&);

    [[nodiscard]] std::size_t connections() const { return entries_.size(); }
    [[nodiscard]] const Counters& counters() const { return counters_; }

private:
    using Clock = Connection::Clock;
    using StreamId = std::uint64_t;
    struct Entry {
        Ports ports;
        Connection connection;
        std::optional<HostStream> stream{}; ///< null while the host has not answered, and at the end
        StreamId id = 0;
        Subscription timer{};
        bool queued = false;
    };
    struct Call {
        FileDescriptor socket;
        ConnectCommand command;
        Subscription timer;
    };
    struct Lingering {
        HostStream stream;
        Subscription timer;
    };

    Multiplexer(EventLoop&, std::shared_ptr<const UnixListener>, const Options&, Readiness, std::function<void()>);

    // multiplexer.cpp: the guest's side
    void guest_calls(const Header&);
    void take_payload(Entry&, std::span<const iovec>, std::uint32_t length);
    void reply_reset(const Ports&, std::uint16_t type);
    std::uint64_t deliver_data(virtio::Virtqueue&, RxBuffers&, Entry&);
    [[nodiscard]] Header addressed(Header, const Ports&) const;
    [[nodiscard]] static std::uint64_t key(const Ports& ports) { return std::uint64_t{ports.host} << 32 | ports.guest; }
    [[nodiscard]] Entry* find(const Ports&);
    Entry& add(const Ports&, const Connection&);
    /// Draws the consequences of what has happened to a connection. It may be gone afterwards.
    void settle(Entry&);
    void close_stream(Entry&);
    void remove(Entry&);
    void arm(Entry&);

    // multiplexer_host.cpp: the host's side
    void watch_host();
    void host_events();
    void stream_event(Entry&, std::uint32_t events);
    void accept_calls();
    void listen_later();
    void listen(bool wanted);
    void add_call(FileDescriptor);
    void read_command(StreamId);
    void drop_call(StreamId);
    void host_calls(FileDescriptor, StreamId, std::uint32_t guest_port);
    void call_host(Entry&);
    [[nodiscard]] Result<FileDescriptor> answer_for_host(const Ports&, StreamId);
    void call_host_again();
    void linger(HostStream, StreamId);
    void linger_event(StreamId, std::uint32_t events);
    [[nodiscard]] bool full() const { return entries_.size() + lingering_.size() >= options_.max_connections; }
    [[nodiscard]] std::uint32_t next_host_port(std::uint32_t guest_port);

    EventLoop& loop_;
    std::shared_ptr<const UnixListener> listener_;
    Options options_;
    Readiness readiness_;
    std::function<void()> packets_due_;

    bool driver_ = false;
    bool paused_ = false;
    std::uint32_t last_port_ = first_host_port - 1;
    StreamId last_id_ = 0;    ///< 0 is the listener
    std::deque<Ports> known_; ///< to a restored guest, which is to be told that they are gone
    std::deque<Header> replies_;
    std::deque<Entry*> ready_;                         ///< who has something for the guest, in turn
    std::unordered_map<std::uint64_t, Entry> entries_; ///< by key()
    std::unordered_map<StreamId, Entry*> by_stream_;   ///< those that have a stream
    std::unordered_map<StreamId, Call> calls_;
    std::unordered_map<StreamId, Lingering> lingering_;
    std::unordered_map<StreamId, FileDescriptor> renewals_; ///< the other ends of streams of our own
    std::vector<std::uint64_t> unanswered_;                 ///< keys of calls for which the host's listener had no room
    Counters counters_;
    Subscription events_;
    Subscription retry_listen_;
    Subscription retry_calls_;
    bool listening_ = false;
};

} // namespace aerate::vsock
