// A hostile guest and hostile clients for the vsock: the input is a program of packets, chains, commands and hang-ups,
// between which the machine pauses, is saved and goes on.
#include "base/check.hpp"
#include "vsock/testing/guest.hpp"

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace aerate::vsock {
namespace {

using testing::Guest;
using testing::HostSocket;

constexpr unsigned most_connections = 6;

class Input {
public:
    explicit Input(std::span<const std::uint8_t> bytes)
        : bytes_(bytes) {}
    [[nodiscard]] bool empty() const { return bytes_.empty(); }
    std::uint8_t byte() {
        const std::uint8_t first = bytes_.empty() ? 0 : bytes_.front();
        bytes_ = bytes_.subspan(bytes_.empty() ? 0 : 1);
        return first;
    }
    std::uint32_t word() {
        std::uint32_t value = 0;
        for (int i = 0; i < 4; ++i)
            value = value << 8 | byte();
        return value;
    }
    std::span<const std::byte> bytes(std::size_t most) {
        const auto taken = bytes_.first(std::min(most, bytes_.size()));
        bytes_ = bytes_.subspan(taken.size());
        return std::as_bytes(taken);
    }

private:
    std::span<const std::uint8_t> bytes_;
};

class Script {
public:
    explicit Script(std::uint8_t choice)
        : guest_({.ring = choice % 2 == 0 ? testing::split_ring_with_events : testing::packed_ring_with_events,
                  .options = options(),
                  .rx_buffers = 16U + choice % 16,
                  .event_buffers = choice % 3U,
                  .rx_room = choice % 5 == 0 ? 1U : 600U})
        , listener_(guest_.listen(50)) {}

    void run(Input& input) {
        for (int steps = 0; !input.empty() && steps < 400; ++steps) {
            step(input);
            CHECK(guest_.device().connections().connections() <= most_connections);
        }
        CHECK(guest_.pause());
        CHECK(guest_.rx_queue().device().in_flight() == 0 && guest_.tx_queue().device().in_flight() == 0);
    }

private:
    static Vsock::Options options() {
        Vsock::Options options;
        options.connections.max_connections = most_connections;
        options.connections.max_calls = 3;
        options.reset_patience = std::chrono::milliseconds(1);
        return options;
    }

    void step(Input& input) {
        switch (input.byte() % 12) {
        case 0:
        case 1:
        case 2:
            send(input);
            break;
        case 3: { // anything, as a chain
            const auto bytes = input.bytes(input.byte() % 64U);
            if (guest_.tx_queue().free_slots() > 2)
                guest_.tx_queue().add({testing::readable(bytes)});
            guest_.device().kicked(Vsock::tx);
            break;
        }
        case 4:
            call(input);
            break;
        case 5:
            if (HostSocket* const host = pick(input))
                (void)::send(host->fd(), filler.data(), input.byte() * 40U, MSG_NOSIGNAL | MSG_DONTWAIT);
            break;
        case 6:
            if (HostSocket* const host = pick(input))
                (void)host->heard(input.byte() * 100U + 1);
            break;
        case 7:
            hang_up(input);
            break;
        case 8:
            hear();
            break;
        case 9:
            guest_.refill(input.byte() % 2 == 0);
            break;
        case 10:
            live(input.byte());
            break;
        default:
            (void)guest_.events(input.byte() % 4 != 0);
        }
        guest_.settle();
    }

    /// Mostly of a connection that there is, so that it comes far.
    void send(Input& input) {
        const std::uint8_t choice = input.byte();
        const Ports known = known_.empty() ? Ports{50, 1} : known_[choice % known_.size()];
        Header packet = Guest::packet(known, static_cast<Op>(input.byte() % 9), input.byte() % 8U);
        if (choice >= 0x80)
            packet.source_port = input.byte() % 4U;
        if (choice >= 0xc0)
            packet.destination_port = 49U + input.byte() % 3U;
        if (choice >= 0xe0) {
            packet.type = input.byte() % 3;
            packet.buffer_size = input.word();
            packet.forwarded = input.word();
            packet.destination_cid = input.byte() % 4U;
        }
        const auto payload = std::as_bytes(std::span(filler)).first(packet.op == Op::rw ? input.byte() * 15U : 0);
        packet.length = choice >= 0xf8 ? input.word() : static_cast<std::uint32_t>(payload.size());
        guest_.send_raw(packet, payload);
        if (packet.op == Op::request)
            remember({packet.destination_port, packet.source_port});
    }

    void call(Input& input) {
        auto socket = connect_unix(guest_.path());
        if (!socket)
            return;
        HostSocket host(*std::move(socket));
        const std::uint8_t choice = input.byte();
        if (choice % 4 != 0)
            host.say("CONNECT " + std::to_string(choice % 3) + "\n");
        else {
            const auto command = input.bytes(choice / 8U);
            (void)::send(host.fd(), command.data(), command.size(), MSG_NOSIGNAL);
        }
        if (hosts_.size() < 16)
            hosts_.push_back(std::move(host));
    }

    void hang_up(Input& input) {
        if (HostSocket* const host = pick(input)) {
            if (input.byte() % 2 == 0)
                return host->shut_writing();
            std::swap(*host, hosts_.back());
            hosts_.pop_back();
        }
    }

    void hear() {
        for (const testing::Packet& packet : guest_.packets()) {
            CHECK(packet.payload.size() == packet.header.length);
            CHECK(packet.header.source_cid == host_cid && packet.header.destination_cid == testing::guest_cid);
            if (packet.header.op == Op::request)
                remember({packet.header.source_port, packet.header.destination_port});
        }
        for (int i = 0; i < 4; ++i) {
            FileDescriptor socket(::accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
            if (socket.valid() && hosts_.size() < 16)
                hosts_.emplace_back(std::move(socket));
        }
    }

    void live(std::uint8_t choice) {
        switch (choice % 4) {
        case 0:
            CHECK(guest_.pause());
            CHECK(guest_.rx_queue().device().in_flight() == 0);
            break;
        case 1:
            guest_.resume();
            break;
        case 2:
            CHECK(guest_.save_and_restore());
            if (choice >= 0x80)
                guest_.resume();
            break;
        default:
            guest_.reset();
        }
    }

    HostSocket* pick(Input& input) {
        const std::uint8_t choice = input.byte();
        return hosts_.empty() ? nullptr : &hosts_[choice % hosts_.size()];
    }
    void remember(const Ports& ports) {
        known_.push_back(ports);
        if (known_.size() > 8)
            known_.erase(known_.begin());
    }

    inline static const std::vector<char> filler = std::vector<char>(12'000, 'f');
    Guest guest_;
    UnixListener listener_;
    std::vector<HostSocket> hosts_;
    std::vector<Ports> known_;
};

} // namespace
} // namespace aerate::vsock

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0)
        return 0;
    aerate::vsock::Input input({data, size});
    aerate::vsock::Script(input.byte()).run(input);
    return 0;
}
