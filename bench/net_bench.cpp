// What the network card costs a frame, over a real tap in a namespace of its own (root, or user namespaces): a driver's
// half in this process, the host's end a packet socket, or nobody. "Bare" is the same with one system call a frame and
// no card: what the kernel's part of it costs.
#include "base/check.hpp"
#include "event/event_fd.hpp"
#include "event/event_loop.hpp"
#include "net/net.hpp"
#include "net/tap.hpp"
#include "virtio/testing/fake_driver.hpp"

#include <benchmark/benchmark.h>
#include <boost/asio/io_context.hpp>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>

#include <linux/if_packet.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace aerate::net {
namespace {

using namespace virtio::testing;

constexpr MacAddress own_mac{2, 0, 0, 0, 0, 1};

/// A tap that is up; null where the host refuses one.
std::shared_ptr<Tap> tap() {
    static const auto made = []() -> std::shared_ptr<Tap> {
        if (::unshare(CLONE_NEWNET) < 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
            return nullptr;
        auto opened = Tap::open("bench0");
        const int any = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        ifreq request{};
        std::strcpy(request.ifr_name, "bench0");
        request.ifr_flags = IFF_UP;
        CHECK(!opened || ::ioctl(any, SIOCSIFFLAGS, &request) == 0);
        return opened ? *opened : nullptr;
    }();
    return made;
}

/// A socket at the host's end.
int packet_socket(std::uint16_t protocol = 0) {
    const int fd = ::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(protocol));
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(protocol);
    address.sll_ifindex = static_cast<int>(::if_nametoindex("bench0"));
    CHECK(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    return fd;
}

std::vector<std::byte> frame_of(std::size_t size) {
    std::vector<std::byte> frame(header::size + size);
    std::memset(frame.data() + header::size, 0xff, 6);
    std::memcpy(frame.data() + header::size + 6, own_mac.data(), own_mac.size());
    frame[header::size + 12] = std::byte{0x88}; // an experimental type: the host's stack drops it at once
    frame[header::size + 13] = std::byte{0xb5};
    return frame;
}

struct Card {
    explicit Card(std::shared_ptr<BackEnd> back_end)
        : net(Net::create(loop, fake.memory(), {std::move(back_end)}, "eth0", {.mac = own_mac}).value())
        , receive(fake.queue(Net::queue_size, features))
        , transmit(fake.queue(Net::queue_size, features)) {
        virtio::Virtqueue* const queues[] = {&receive.device(), &transmit.device(), nullptr};
        net->activate({virtio::FeatureSet{features.bits}.with(feature::merged_receive_buffers), queues, &host});
    }
    void turn() {
        loop.context().restart();
        (void)loop.context().poll();
        for (const virtio::QueueIndex queue : std::exchange(host.kicks_again, {}))
            net->kicked(queue);
        host.interrupts.clear();
    }
    static constexpr virtio::FeatureSet features = split_ring_with_events;
    EventLoop loop;
    FakeDriver fake;
    FakeHost host;
    std::unique_ptr<Net> net;
    FakeQueue receive;
    FakeQueue transmit;
};

void counted(benchmark::State& state, std::size_t frames, std::size_t size) {
    state.SetItemsProcessed(static_cast<std::int64_t>(frames));
    state.SetBytesProcessed(static_cast<std::int64_t>(frames * size));
}

/// 32 frames a kick.
constexpr std::size_t batch = 32;

void transmit(benchmark::State& state) {
    const auto back_end = tap();
    if (!back_end)
        return state.SkipWithError("this host refuses a tap");
    const auto size = static_cast<std::size_t>(state.range(0));
    Card card(back_end);
    const auto frame = frame_of(size);
    const GuestAddress at{8U << 20};
    CHECK(card.fake.memory().write(at, frame));
    for (auto _ : state) {
        for (std::size_t i = 0; i < batch; ++i)
            card.transmit.add({readable_at(at, 12), readable_at({at.value + 12}, static_cast<std::uint32_t>(size))});
        card.net->kicked({1});
        while (card.transmit.take_used()) {
        }
        card.turn();
    }
    CHECK(card.net->counters().tx_fails == 0);
    counted(state, static_cast<std::size_t>(state.iterations()) * batch, size);
}
BENCHMARK(transmit)->Arg(60)->Arg(1514)->Arg(65226);

void transmit_bare(benchmark::State& state) {
    const auto back_end = tap();
    if (!back_end)
        return state.SkipWithError("this host refuses a tap");
    const auto size = static_cast<std::size_t>(state.range(0));
    auto frame = frame_of(size);
    const std::array pieces{iovec{frame.data(), 12}, iovec{frame.data() + 12, size}};
    for (auto _ : state)
        for (std::size_t i = 0; i < batch; ++i)
            CHECK(back_end->send(pieces) == Outcome::done);
    counted(state, static_cast<std::size_t>(state.iterations()) * batch, size);
}
BENCHMARK(transmit_bare)->Arg(60)->Arg(1514)->Arg(65226);

/// Frames of the host, of which each is sent by one system call that is not timed.
template <typename Receive>
void receive_with(benchmark::State& state, Receive receive) {
    const int host = packet_socket();
    const auto size = static_cast<std::size_t>(state.range(0));
    const auto frame = frame_of(size);
    for (auto _ : state) {
        state.PauseTiming();
        for (std::size_t i = 0; i < batch; ++i)
            CHECK(::send(host, frame.data() + header::size, size, 0) == static_cast<ssize_t>(size));
        state.ResumeTiming();
        receive();
    }
    ::close(host);
    counted(state, static_cast<std::size_t>(state.iterations()) * batch, size);
}

void receive(benchmark::State& state) {
    const auto back_end = tap();
    if (!back_end)
        return state.SkipWithError("this host refuses a tap");
    Card card(back_end);
    const GuestAddress at{4U << 20};
    const auto refill = [&] {
        while (card.receive.free_slots() > 0)
            card.receive.add({writable_at(at, 1536)});
    };
    refill();
    card.net->kicked({0});
    receive_with(state, [&] {
        card.turn();
        while (card.receive.take_used()) {
        }
        refill();
    });
    state.counters["received"] = static_cast<double>(card.net->counters().rx_packets) /
                                 static_cast<double>(state.iterations() * static_cast<std::int64_t>(batch));
}
BENCHMARK(receive)->Arg(60)->Arg(1514);

void receive_bare(benchmark::State& state) {
    const auto back_end = tap();
    if (!back_end)
        return state.SkipWithError("this host refuses a tap");
    std::vector<std::byte> room(max_frame);
    const iovec piece{room.data(), room.size()};
    while (back_end->receive({&piece, 1}).outcome == Outcome::done) {
    }
    receive_with(state, [&] {
        while (back_end->receive({&piece, 1}).outcome == Outcome::done) {
        }
    });
}
BENCHMARK(receive_bare)->Arg(60)->Arg(1514);

/// What receiving costs while the write log is kept: the same as receive(), into as many pages as there are buffers.
void receive_logged(benchmark::State& state) {
    const auto back_end = tap();
    if (!back_end)
        return state.SkipWithError("this host refuses a tap");
    Card card(back_end);
    if (state.range(1) != 0)
        card.fake.memory().write_log().start();
    std::uint64_t next = 0;
    const auto refill = [&] {
        while (card.receive.free_slots() > 0)
            card.receive.add({writable_at({(4U << 20) + 4096 * (next++ % 1024)}, 1536)});
    };
    refill();
    card.net->kicked({0});
    receive_with(state, [&] {
        card.turn();
        while (card.receive.take_used()) {
        }
        refill();
    });
}
BENCHMARK(receive_logged)->Args({60, 0})->Args({60, 1})->Args({1514, 0})->Args({1514, 1});

/// A thread that is the card's, and one that is the guest's, each asleep until the other signals: as in a VM, with
/// eventfds for KVM's.
class Guest final : public virtio::DeviceHost {
public:
    explicit Guest(std::shared_ptr<BackEnd> back_end)
        : net_(Net::create(loop_, fake_.memory(), {std::move(back_end)}, "eth0", {.mac = own_mac}).value())
        , receive_(fake_.queue(Net::queue_size, features))
        , transmit_(fake_.queue(Net::queue_size, features)) {
        CHECK(fake_.memory().write(reply, frame_of(60)));
        for (int i = 0; i < 64; ++i)
            receive_.add({writable_at(buffers, 1536)});
        virtio::Virtqueue* const queues[] = {&receive_.device(), &transmit_.device(), nullptr};
        net_->activate({virtio::FeatureSet{features.bits}.with(feature::merged_receive_buffers), queues, this});
        net_->kicked({0});
        kicked_ = loop_.watch(kick_.fd(), [this] {
            (void)kick_.drain();
            net_->kicked({1});
        });
        card_ = std::thread([this] { loop_.run(); });
        guest_ = std::thread([this] { answer(); });
    }
    ~Guest() {
        ends_ = true;
        interrupt_.signal();
        guest_.join();
        loop_.stop();
        card_.join();
        kicked_.cancel();
        net_->reset();
    }
    Guest(const Guest&) = delete;
    Guest& operator=(const Guest&) = delete;

private:
    void interrupt_queue(virtio::QueueIndex) override { interrupt_.signal(); }
    void config_changed() override {}
    void kick_again(virtio::QueueIndex queue) override {
        loop_.post([this, queue] { net_->kicked(queue); });
    }
    void needs_reset(virtio::QueueIndex, std::string_view) override { CHECK(false); }
    void answer() {
        while (!ends_) {
            pollfd event{.fd = interrupt_.fd(), .events = POLLIN, .revents = 0};
            (void)::poll(&event, 1, -1);
            (void)interrupt_.drain();
            while (transmit_.take_used()) {
            }
            while (receive_.take_used()) {
                receive_.add({writable_at(buffers, 1536)});
                transmit_.add({readable_at(reply, header::size + 60)});
                if (transmit_.kick_wanted())
                    kick_.signal();
            }
        }
    }

    static constexpr virtio::FeatureSet features = split_ring_with_events;
    static constexpr GuestAddress buffers{4U << 20};
    static constexpr GuestAddress reply{8U << 20};
    EventLoop loop_;
    FakeDriver fake_;
    EventFd kick_ = EventFd::create().value();
    EventFd interrupt_ = EventFd::create().value();
    std::unique_ptr<Net> net_;
    FakeQueue receive_;
    FakeQueue transmit_;
    Subscription kicked_;
    std::atomic<bool> ends_ = false;
    std::thread card_;
    std::thread guest_;
};

/// One small frame to the guest, and its answer.
void there_and_back(benchmark::State& state) {
    const auto back_end = tap();
    if (!back_end)
        return state.SkipWithError("this host refuses a tap");
    const Guest guest(back_end);
    const int host = packet_socket(0x88b5);
    const auto frame = frame_of(60);
    std::array<std::byte, 2048> room;
    for (auto _ : state) {
        CHECK(::send(host, frame.data() + header::size, 60, 0) == 60);
        CHECK(::recv(host, room.data(), room.size(), 0) == 60);
    }
    ::close(host);
}
BENCHMARK(there_and_back)->UseRealTime()->MeasureProcessCPUTime();

} // namespace
} // namespace aerate::net
