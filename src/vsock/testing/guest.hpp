// A guest with a vsock and its host, for tests: a driver with true rings, a directory of true sockets, and the loop on
// which both are served.
#pragma once

#include "base/check.hpp"
#include "base/endian.hpp"
#include "base/testing/temporary_directory.hpp"
#include "base/unix_listener.hpp"
#include "base/unix_socket.hpp"
#include "event/event_loop.hpp"
#include "virtio/testing/fake_driver.hpp"
#include "vsock/vsock.hpp"

#include <poll.h>
#include <unistd.h>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace aerate::vsock::testing {

using namespace virtio::testing;

inline constexpr std::uint32_t guest_cid = 3;

struct Packet {
    Header header;
    std::vector<std::byte> payload;
};

[[nodiscard]] inline std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}
[[nodiscard]] inline std::string text_of(std::span<const std::byte> bytes) {
    std::string text;
    for (const std::byte byte : bytes)
        text += static_cast<char>(byte);
    return text;
}

/// A client's or a server's socket on the host.
class HostSocket {
public:
    explicit HostSocket(FileDescriptor fd)
        : fd_(std::move(fd)) {}
    [[nodiscard]] int fd() const { return fd_.get(); }
    void say(std::string_view text) {
        CHECK(::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
    }
    /// What there is now, `most` bytes of it.
    std::string heard(std::size_t most = 1U << 20) {
        std::string text(most, '\0');
        const ssize_t got = ::recv(fd_.get(), text.data(), text.size(), MSG_DONTWAIT);
        at_end_ |= got == 0 || (got < 0 && errno != EAGAIN);
        text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
        return text;
    }
    /// heard() has found the end.
    [[nodiscard]] bool at_end() const { return at_end_; }
    void shut_writing() { ::shutdown(fd_.get(), SHUT_WR); }
    void close() { fd_.close(); }

private:
    FileDescriptor fd_;
    bool at_end_ = false;
};

class Guest {
public:
    struct Setting {
        virtio::FeatureSet ring = split_ring_with_events;
        Vsock::Options options{};
        unsigned rx_buffers = 64;
        unsigned event_buffers = 8;
        std::uint32_t rx_room = 4096; ///< of payload
    };
    Guest()
        : Guest(Setting{}) {}
    explicit Guest(const Setting& setting)
        : setting_(setting)
        , listener_(std::make_shared<const UnixListener>(UnixListener::bind(directory_ / "v.sock").value()))
        , rx_(fake_.queue(Vsock::queue_size, setting.ring))
        , tx_(fake_.queue(Vsock::queue_size, setting.ring))
        , event_(fake_.queue(Vsock::queue_size, setting.ring)) {
        for (unsigned i = 0; i < setting.rx_buffers; ++i)
            offer_rx(fake_.allocate(ByteCount{rx_length()}));
        for (unsigned i = 0; i < setting.event_buffers; ++i)
            event_.add({writable(4)});
        tx_pool_ = fake_.allocate(ByteCount{Vsock::queue_size * tx_slot});
        make_device();
        activate();
    }

    // --- Time ---

    /// Serves until `done`, for ten seconds at the most.
    template <typename Done>
    bool until(Done done) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        bool reached = false;
        const auto look = loop_.every(std::chrono::milliseconds(1), [&] {
            serve_again();
            reached = done();
            if (reached || std::chrono::steady_clock::now() > end)
                loop_.stop();
        });
        serve_again();
        loop_.run();
        return reached;
    }
    /// Serves what is ready.
    void settle() {
        serve_again();
        for (int round = 0; round < 3; ++round) {
            // The loop looks at its descriptors between two that were posted.
            loop_.post([this] { loop_.post([this] { loop_.post([this] { loop_.stop(); }); }); });
            loop_.run();
            serve_again();
        }
    }
    void serve_for(std::chrono::milliseconds time) {
        const auto end = std::chrono::steady_clock::now() + time;
        (void)until([&] { return std::chrono::steady_clock::now() >= end; });
    }

    // --- The driver ---

    void send(Header header, std::span<const std::byte> payload = {}) {
        header.length = static_cast<std::uint32_t>(payload.size());
        send_raw(header, payload);
    }
    /// With the length that the header has.
    void send_raw(const Header& header, std::span<const std::byte> payload = {}) {
        while (tx_.take_used()) {
        }
        CHECK(tx_.free_slots() > 2 && payload.size() <= payload_max);
        const GuestAddress at{tx_pool_.value + tx_slot * (tx_next_++ % Vsock::queue_size)};
        const auto head = encode(header);
        CHECK(fake_.memory().write(at, head));
        CHECK(fake_.memory().write({at.value + header_bytes}, payload));
        const auto length = static_cast<std::uint32_t>(header_bytes + payload.size());
        tx_.add({readable_at(at, length)});
        device_->kicked(Vsock::tx);
    }
    [[nodiscard]] static Header packet(const Ports& ports, Op op, std::uint32_t flags = 0) {
        return {.source_cid = guest_cid,
                .destination_cid = host_cid,
                .source_port = ports.guest,
                .destination_port = ports.host,
                .op = op,
                .flags = flags,
                .buffer_size = 256U << 10};
    }
    /// Takes what the device has filled, and offers the buffers again.
    std::vector<Packet> packets() {
        std::vector<Packet> all;
        while (const auto used = rx_.take_used()) {
            const auto buffer = rx_addresses_.extract(used->token);
            if (used->written >= header_bytes) {
                Packet packet{.header = decode(std::span(used->bytes).first<header_bytes>()), .payload = {}};
                packet.payload.assign(used->bytes.begin() + header_bytes, used->bytes.begin() + used->written);
                all.push_back(std::move(packet));
            } else {
                ++dropped_;
            }
            if (refills_)
                offer_rx(buffer.mapped());
            else
                kept_.push_back(buffer.mapped());
        }
        if (!all.empty() && refills_)
            device_->kicked(Vsock::rx);
        return all;
    }
    /// The next packet, for which it waits.
    std::optional<Packet> next() {
        (void)until([this] { return arrived(); });
        if (inbox_.empty())
            return std::nullopt;
        Packet first = std::move(inbox_.front());
        inbox_.erase(inbox_.begin());
        return first;
    }
    /// The next that has this op; others before it are dropped.
    std::optional<Packet> next(Op op) {
        for (auto packet = next(); packet; packet = next())
            if (packet->header.op == op)
                return packet;
        return std::nullopt;
    }
    /// Nothing comes in 30 ms.
    bool hears_nothing() {
        serve_for(std::chrono::milliseconds(30));
        return !arrived();
    }
    /// Stops offering buffers, or begins again.
    void refill(bool on) {
        refills_ = on;
        for (const GuestAddress address : std::exchange(kept_, {}))
            if (on)
                offer_rx(address);
            else
                kept_.push_back(address);
        if (on)
            device_->kicked(Vsock::rx);
    }
    /// Handles the events that there are; returns what they were, without buffers that came back empty. `notice`: all
    /// go back, as Linux does it.
    std::vector<std::uint32_t> events(bool notice = true) {
        std::vector<std::uint32_t> seen;
        while (const auto used = event_.take_used()) {
            if (used->written == 4)
                seen.push_back(load_little_endian<std::uint32_t>(used->bytes));
            if (notice)
                event_.add({writable(4)});
        }
        if (notice)
            device_->kicked(Vsock::event);
        return seen;
    }

    // --- Connections ---

    [[nodiscard]] std::string path() const { return listener_->path(); }
    HostSocket connect() { return HostSocket(connect_unix(path()).value()); }
    UnixListener listen(std::uint32_t port) { return UnixListener::bind(path() + "_" + std::to_string(port)).value(); }
    HostSocket accept(const UnixListener& listener) {
        FileDescriptor fd;
        CHECK(until([&] {
            fd = FileDescriptor(::accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
            return fd.valid();
        }));
        return HostSocket(std::move(fd));
    }
    struct Pair {
        Ports ports;
        HostSocket host;
    };
    /// A host's call that the guest has answered.
    Pair host_calls(std::uint32_t port = 52) {
        HostSocket host = connect();
        host.say("CONNECT " + std::to_string(port) + "\n");
        const auto request = next(Op::request);
        CHECK(request.has_value());
        const Ports ports{.host = request->header.source_port, .guest = request->header.destination_port};
        send(packet(ports, Op::response));
        settle();
        CHECK(host.heard() == "OK " + std::to_string(ports.host) + "\n");
        return {ports, std::move(host)};
    }
    /// A guest's call that the host has answered.
    Pair guest_calls(std::uint32_t host_port, std::uint32_t guest_port) {
        const UnixListener listener = listen(host_port);
        const Ports ports{.host = host_port, .guest = guest_port};
        send(packet(ports, Op::request));
        HostSocket host = accept(listener);
        CHECK(next(Op::response).has_value());
        return {ports, std::move(host)};
    }

    // --- The machine around it ---

    void make_device() { device_ = Vsock::create(loop_, fake_.memory(), listener_, setting_.options).value(); }
    void activate() {
        virtio::Virtqueue* const queues[] = {&rx_.device(), &tx_.device(), &event_.device()};
        device_->activate({setting_.ring, queues, &host_});
    }
    bool pause() {
        bool rests = false;
        device_->pause([&] { rests = true; });
        return rests;
    }
    void resume() {
        device_->resume();
        serve_again();
    }
    /// A new device goes on where this one was saved. What the host had is gone.
    [[nodiscard]] Result<> save_and_restore() {
        CHECK(pause());
        const auto saved = device_->save();
        for (FakeQueue* queue : {&rx_, &tx_, &event_})
            queue->remake_device(queue->device().position());
        host_.kicks_again.clear();
        device_->reset();
        make_device();
        CHECK(pause());
        activate();
        return device_->restore(saved);
    }

    /// A driver resets the device, and goes on with rings that the device has not seen: what it had taken is forgotten.
    void reset() {
        device_->reset();
        for (FakeQueue* queue : {&rx_, &tx_, &event_})
            queue->remake_device(queue->device().position());
        activate();
    }

    Vsock& device() { return *device_; }
    FakeHost& host() { return host_; }
    FakeDriver& fake() { return fake_; }
    FakeQueue& rx_queue() { return rx_; }
    FakeQueue& tx_queue() { return tx_; }
    FakeQueue& event_queue() { return event_; }
    EventLoop& loop() { return loop_; }
    [[nodiscard]] unsigned dropped() const { return dropped_; }
    [[nodiscard]] const Counters& counters() const { return device_->connections().counters(); }

private:
    static constexpr std::uint64_t tx_slot = 4096;

    [[nodiscard]] std::uint32_t rx_length() const {
        return static_cast<std::uint32_t>(header_bytes) + setting_.rx_room;
    }
    void offer_rx(GuestAddress address) { rx_addresses_[rx_.add({writable_at(address, rx_length())})] = address; }
    bool arrived() {
        for (Packet& packet : packets())
            inbox_.push_back(std::move(packet));
        return !inbox_.empty();
    }
    void serve_again() {
        for (const virtio::QueueIndex queue : std::exchange(host_.kicks_again, {}))
            device_->kicked(queue);
    }

    Setting setting_;
    TemporaryDirectory directory_;
    EventLoop loop_;
    FakeDriver fake_;
    FakeHost host_;
    std::shared_ptr<const UnixListener> listener_;
    FakeQueue rx_;
    FakeQueue tx_;
    FakeQueue event_;
    std::unordered_map<std::uint32_t, GuestAddress> rx_addresses_;
    std::vector<GuestAddress> kept_;
    std::vector<Packet> inbox_;
    GuestAddress tx_pool_{};
    std::uint64_t tx_next_ = 0;
    bool refills_ = true;
    unsigned dropped_ = 0;
    std::unique_ptr<Vsock> device_;
};

} // namespace aerate::vsock::testing
