// What the network card costs a frame, over a real tap in a namespace of its own (root, or user namespaces): a driver's
// half in this process, the host's end a packet socket, or nobody. "Bare" is the same with one system call a frame and
// no card: what the kernel's part of it costs.
#include "base/check.hpp"
#include "net/net.hpp"
#include "net/tap.hpp"
#include "virtio/testing/fake_driver.hpp"

#include <benchmark/benchmark.h>
#include <boost/asio/io_context.hpp>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>

#include <linux/if_packet.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
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
int packet_socket() {
    const int fd = ::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
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

} // namespace
} // namespace aerate::net
