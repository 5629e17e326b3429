// Real taps, in a network namespace of the test's own.
#include "net/announcement.hpp"
#include "net/tap.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>

#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <vector>

namespace aerate::net {
namespace {

/// Each of these tests runs in a process of its own: the namespace is for good.
class TapTest : public ::testing::Test {
protected:
    void SetUp() override {
        if (::unshare(CLONE_NEWNET) < 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
            GTEST_SKIP() << "this host refuses a network namespace: " << std::strerror(errno);
        auto opened = Tap::open("aerate-test");
        if (!opened && (opened.error().system_error == ENOENT || opened.error().system_error == ENODEV ||
                        opened.error().system_error == EPERM || opened.error().system_error == EACCES))
            GTEST_SKIP() << opened.error().message;
        ASSERT_TRUE(opened) << opened.error().message;
        tap_ = std::move(*opened);
        // The host's side of it: a socket that sees and sends raw frames.
        packet_ = FileDescriptor(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL)));
        ASSERT_TRUE(packet_.valid());
        ifreq request{};
        std::strcpy(request.ifr_name, "aerate-test");
        ASSERT_EQ(::ioctl(packet_.get(), SIOCGIFFLAGS, &request), 0);
        request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
        ASSERT_EQ(::ioctl(packet_.get(), SIOCSIFFLAGS, &request), 0);
        ASSERT_EQ(::ioctl(packet_.get(), SIOCGIFINDEX, &request), 0);
        sockaddr_ll address{};
        address.sll_family = AF_PACKET;
        address.sll_protocol = htons(ETH_P_ALL);
        address.sll_ifindex = request.ifr_ifindex;
        ASSERT_EQ(::bind(packet_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    }
    /// The next frame of this type on the host's side.
    std::vector<std::byte> host_sees(unsigned type) {
        std::array<std::byte, 2048> frame;
        for (int i = 0; i < 100; ++i) {
            pollfd ready{.fd = packet_.get(), .events = POLLIN, .revents = 0};
            if (::poll(&ready, 1, 2000) != 1)
                break;
            const ssize_t got = ::recv(packet_.get(), frame.data(), frame.size(), 0);
            if (got >= 14 && frame[12] == std::byte(type >> 8) && frame[13] == std::byte(type & 0xff))
                return {frame.begin(), frame.begin() + got};
        }
        return {};
    }

    /// Makes an interface ready for bind(), and sends so many frames to it from the host's side.
    void send_to(const char* interface, int frames) {
        const FileDescriptor socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
        ifreq request{};
        std::strcpy(request.ifr_name, interface);
        request.ifr_flags = IFF_UP;
        ASSERT_EQ(::ioctl(socket.get(), SIOCSIFFLAGS, &request), 0);
        ASSERT_EQ(::ioctl(socket.get(), SIOCGIFINDEX, &request), 0);
        sockaddr_ll address{};
        address.sll_family = AF_PACKET;
        address.sll_ifindex = request.ifr_ifindex;
        std::array<std::byte, 100> frame{};
        frame[12] = std::byte{0x88};
        frame[13] = std::byte{0xb5}; // for experiments
        for (int i = 0; i < frames; ++i)
            ASSERT_EQ(::sendto(socket.get(), frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&address),
                               sizeof address),
                      100);
    }
    /// How many of them have come to a queue.
    static int come_to(BackEnd& queue) {
        std::array<std::byte, 2048> room{};
        const iovec piece{room.data(), room.size()};
        int count = 0;
        for (Received got; (got = queue.receive({&piece, 1})).outcome == Outcome::done;)
            count += got.bytes == header::size + 100 && room[header::size + 12] == std::byte{0x88} ? 1 : 0;
        return count;
    }

    std::shared_ptr<Tap> tap_;
    FileDescriptor packet_;
};

TEST_F(TapTest, FramesGoBothWays) {
    const auto rarp = reverse_arp({2, 0, 0, 0, 0, 7});
    const iovec out{const_cast<std::byte*>(rarp.data()), rarp.size()};
    EXPECT_EQ(tap_->send({&out, 1}), Outcome::done);
    const auto seen = host_sees(0x8035);
    ASSERT_EQ(seen.size(), 60U);
    EXPECT_TRUE(std::equal(seen.begin(), seen.end(), rarp.begin() + header::size));

    std::vector<std::byte> frame(1000, std::byte{0x42});
    frame[12] = std::byte{0x88};
    frame[13] = std::byte{0xb5}; // for experiments
    ASSERT_EQ(::send(packet_.get(), frame.data(), frame.size(), 0), 1000);
    std::vector<std::byte> room(70'000);
    const std::array pieces{iovec{room.data(), 100}, iovec{room.data() + 100, room.size() - 100}};
    for (int i = 0; i < 100; ++i) {
        const auto got = tap_->receive(pieces);
        if (got.outcome == Outcome::done && got.bytes == header::size + 1000 && room[header::size + 12] == frame[12])
            break;
        pollfd ready{.fd = tap_->readable(), .events = POLLIN, .revents = 0};
        ASSERT_EQ(::poll(&ready, 1, 2000), 1);
    }
    EXPECT_TRUE(std::equal(frame.begin(), frame.end(), room.begin() + header::size));
}

TEST_F(TapTest, N6_AHeaderThatMakesNoSenseIsRefusedByTheHost) {
    std::vector<std::byte> frame(header::size + 60);
    const iovec piece{frame.data(), frame.size()};
    unsigned refused = 0;
    for (unsigned flags = 0; flags < 256; ++flags)
        for (unsigned gso = 0; gso < 256; ++gso) {
            frame[0] = std::byte(flags);
            frame[1] = std::byte(gso);
            std::memset(frame.data() + 2, 0xff, 8);
            const auto outcome = tap_->send({&piece, 1});
            ASSERT_TRUE(outcome == Outcome::done || outcome == Outcome::dropped);
            refused += outcome == Outcome::dropped ? 1 : 0;
        }
    EXPECT_GT(refused, 1000U);
}

TEST_F(TapTest, HasOneReaderAndTakesEveryOffload) {
    const auto second = Tap::open("aerate-test");
    ASSERT_FALSE(second);
    EXPECT_TRUE(second.error().message.contains("in use")) << second.error().message;
    for (const GuestOffloads offloads : {GuestOffloads{.checksum = true},
                                         GuestOffloads{.checksum = true, .tso4 = true, .tso6 = true}, GuestOffloads{}})
        tap_->set_guest_offloads(offloads);
}

TEST_F(TapTest, ADescriptorOfOneIsAdoptedAndOneThatWasDeletedIsGone) {
    FileDescriptor opened(::open("/dev/net/tun", O_RDWR));
    ASSERT_TRUE(opened.valid());
    ifreq request{};
    std::strcpy(request.ifr_name, "aerate-two");
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    ASSERT_EQ(::ioctl(opened.get(), TUNSETIFF, &request), 0);
    const auto adopted = Tap::adopt(std::move(opened));
    ASSERT_TRUE(adopted) << adopted.error().message;
    EXPECT_EQ((*adopted)->name(), "aerate-two");
    std::array<std::byte, 2048> room{};
    const iovec piece{room.data(), room.size()};
    EXPECT_EQ((*adopted)->receive({&piece, 1}).outcome, Outcome::later);

    FileDescriptor plain(::open("/dev/null", O_RDWR));
    EXPECT_FALSE(Tap::adopt(std::move(plain)));
}

TEST_F(TapTest, OfSeveralQueuesThoseThatAreUsedHaveFrames) {
    const auto queues = open_tap("aerate-many", 3);
    ASSERT_TRUE(queues) << queues.error().message;
    ASSERT_EQ(queues->size(), 3U);
    send_to("aerate-many", 8);
    EXPECT_EQ(come_to(*queues->at(0)), 8);
    ASSERT_TRUE(queues->at(2)->set_used(true));
    ASSERT_TRUE(queues->at(0)->set_used(false));
    send_to("aerate-many", 8);
    EXPECT_EQ(come_to(*queues->at(2)), 8) << "the only one that is used";
    ASSERT_TRUE(queues->at(0)->set_used(true));
    for (const auto& queue : *queues) {
        queue->set_guest_offloads({.checksum = true, .tso4 = true});
        queue->set_guest_offloads({});
        ASSERT_TRUE(queue->set_used(false));
        ASSERT_TRUE(queue->set_used(false)) << "twice is once";
    }
}

TEST_F(TapTest, ATapThatWasMadeForSeveralQueuesIsAttachedToForOneAndNotTheOtherWayRound) {
    const auto two = open_tap("aerate-two", 2);
    ASSERT_TRUE(two) << two.error().message;
    EXPECT_TRUE(Tap::open("aerate-two"));
    tap_.reset();
    const auto one = Tap::open("aerate-one");
    ASSERT_TRUE(one);
    const auto refused = open_tap("aerate-one", 2);
    ASSERT_FALSE(refused);
    EXPECT_TRUE(refused.error().message.contains("multi_queue")) << refused.error().message;
}

TEST_F(TapTest, DescriptorsOfOneTapsQueuesAreAdoptedTogether) {
    const auto open = [](const char* name, int flags) {
        FileDescriptor opened(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
        ifreq request{};
        std::strcpy(request.ifr_name, name);
        request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | flags);
        EXPECT_EQ(::ioctl(opened.get(), TUNSETIFF, &request), 0);
        return opened;
    };
    const auto adopt = [](FileDescriptor first, FileDescriptor second) {
        std::vector<FileDescriptor> both;
        both.push_back(std::move(first));
        both.push_back(std::move(second));
        return adopt_tap(std::move(both));
    };
    const auto adopted = adopt(open("aerate-two", IFF_MULTI_QUEUE), open("aerate-two", IFF_MULTI_QUEUE));
    ASSERT_TRUE(adopted) << adopted.error().message;
    send_to("aerate-two", 8);
    EXPECT_EQ(come_to(*adopted->at(0)), 8) << "the second is not used";

    const auto others = adopt(open("aerate-two", IFF_MULTI_QUEUE), open("aerate-three", IFF_MULTI_QUEUE));
    ASSERT_FALSE(others);
    EXPECT_TRUE(others.error().message.contains("aerate-three")) << others.error().message;
    const auto plain = adopt(open("aerate-four", 0), open("aerate-five", 0));
    ASSERT_FALSE(plain);
    EXPECT_TRUE(plain.error().message.contains("IFF_MULTI_QUEUE")) << plain.error().message;
}

TEST_F(TapTest, AnInterfaceThatIsDownDropsFrames) {
    ifreq request{};
    std::strcpy(request.ifr_name, "aerate-test");
    ASSERT_EQ(::ioctl(packet_.get(), SIOCSIFFLAGS, &request), 0);
    std::vector<std::byte> frame(header::size + 60);
    const iovec piece{frame.data(), frame.size()};
    EXPECT_EQ(tap_->send({&piece, 1}), Outcome::dropped);
}

} // namespace
} // namespace aerate::net
